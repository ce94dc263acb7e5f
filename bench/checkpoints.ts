import { fileURLToPath } from 'node:url';
import type { Workplace } from './copies.ts';
import { median } from './figures.ts';
import type { Tool } from './tools.ts';
import { WriterProcess, workBeside } from './writer-process.ts';

/** Takes a database, a mode, and settings. */
export const CHECKPOINTS_WRITER = fileURLToPath(new URL('checkpoints-writer.ts', import.meta.url));

export const CHECKPOINT_MODES = ['FULL', 'RESTART', 'TRUNCATE'] as const;
export type CheckpointMode = (typeof CHECKPOINT_MODES)[number];

/** How an application commits and checkpoints. */
export interface CheckpointSettings {
  readonly commitsPerSecond: number;
  /** At least, and less than: the moments of checkpoints are spread over all that a replicator does meanwhile. */
  readonly commitsBetween: readonly [number, number];
  readonly checkpoints: number;
}

/** What an application waits for its own checkpoints, beside a tool or alone. Nobody else can commit meanwhile. */
export interface CheckpointFigures {
  readonly medianMs: number;
  readonly mostMs: number;
  /** Checkpoints that were not complete when the application's patience had ended. */
  readonly refused: number;
  readonly checkpoints: number;
}

/** What the application tells at its end. */
export interface CheckpointsTold {
  readonly tookMs: readonly number[];
  readonly refused: number;
}

/** Lets an application commit and checkpoint beside a tool, or alone (undefined). */
export async function checkpoints(
  tool: Tool | undefined,
  place: Workplace,
  original: string,
  mode: CheckpointMode,
  settings: CheckpointSettings,
): Promise<CheckpointFigures> {
  const args = [mode, JSON.stringify(settings)];
  const { told } = await workBeside(tool, place, original, (path) =>
    WriterProcess.begin<CheckpointsTold>(CHECKPOINTS_WRITER, [path, ...args]),
  );
  return checkpointFigures(told);
}

export function checkpointFigures({ tookMs, refused }: CheckpointsTold): CheckpointFigures {
  return { medianMs: median(tookMs), mostMs: Math.max(...tookMs), refused, checkpoints: tookMs.length };
}
