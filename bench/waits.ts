import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { Workplace } from './copies.ts';
import { median } from './figures.ts';
import type { Tool } from './tools.ts';
import { WriterProcess, workBeside } from './writer-process.ts';

const WRITER = fileURLToPath(new URL('waits-writer.ts', import.meta.url));
/** Commits from which the size of all is known. */
const SAMPLE: Pace = { commitsPerSecond: 0, commits: 2000 };

/** How an application commits. */
export interface Pace {
  /** 0: as fast as it can. */
  readonly commitsPerSecond: number;
  readonly commits: number;
}

/** `warmUp` comes before anything is counted. */
interface Work {
  readonly warmUp: Pace;
  readonly pace: Pace;
}

/** What an application waits for its commits, beside a tool or alone. Of several runs, each figure is the one in the middle. */
export interface WaitFigures {
  readonly medianMs: number;
  readonly p99Ms: number;
  /** The longest wait of a run. */
  readonly mostMs: number;
  readonly commitsPerSecond: number;
  /** Of the tool, until everything is stored, for each MB that the application wrote to its WAL, ms. */
  readonly cpuMsPerMb: number | undefined;
  /** The largest that the WAL file was in any run. */
  readonly walMostBytes: number;
}

/** What the application tells. */
export interface Told {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  readonly seconds: number;
}

interface Run extends Told {
  /** Of the tool. */
  readonly cpuSeconds: number | undefined;
  readonly walMostBytes: number;
}

/** Lets an application commit beside each of the tools in turn, and alone (undefined). */
export async function waits(
  tools: readonly (Tool | undefined)[],
  placeOf: (name: string) => Workplace,
  original: string,
  work: Work,
  runs: number,
): Promise<Readonly<Record<string, WaitFigures>>> {
  const walMb = (work.pace.commits * (await walBytesACommit(placeOf('wal'), original))) / 1e6;
  const all = new Map<string, Run[]>();
  for (let run = 0; run < runs; run++) {
    for (const tool of tools) {
      const name = tool?.name ?? 'alone';
      all.set(name, [...(all.get(name) ?? []), await once(tool, placeOf(name), original, work)]);
    }
  }
  return Object.fromEntries([...all].map(([name, measured]) => [name, middleOf(measured, work.pace.commits, walMb)]));
}

function middleOf(runs: readonly Run[], commits: number, walMb: number): WaitFigures {
  const middle = (pick: (run: Run) => number): number => median(runs.map(pick));
  const cpuSeconds = runs.flatMap((run) => (run.cpuSeconds === undefined ? [] : [run.cpuSeconds]));
  return {
    medianMs: middle(({ medianMs }) => medianMs),
    p99Ms: middle(({ p99Ms }) => p99Ms),
    mostMs: middle(({ mostMs }) => mostMs),
    commitsPerSecond: commits / middle(({ seconds }) => seconds),
    cpuMsPerMb: cpuSeconds.length > 0 ? (1000 * median(cpuSeconds)) / walMb : undefined,
    walMostBytes: Math.max(...runs.map(({ walMostBytes }) => walMostBytes)),
  };
}

/** Bytes that the application writes to its WAL for a commit: some of the same work, in a WAL that a read keeps from being restarted. */
async function walBytesACommit(place: Workplace, original: string): Promise<number> {
  place.reset(original);
  const reader = new DatabaseSync(place.databasePath, { readOnly: true });
  const writer = await beginWriter(place.databasePath);
  try {
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM sqlite_schema').get();
    await writer.work(JSON.stringify(SAMPLE));
    return statSync(`${place.databasePath}-wal`).size / SAMPLE.commits;
  } finally {
    await writer.end();
    reader.close();
    place.clear();
  }
}

async function once(tool: Tool | undefined, place: Workplace, original: string, { warmUp, pace }: Work): Promise<Run> {
  const orders = { warmUp: JSON.stringify(warmUp), order: JSON.stringify(pace) };
  const { told, ...others } = await workBeside(tool, place, original, beginWriter, orders);
  return { ...told, ...others };
}

function beginWriter(databasePath: string): Promise<WriterProcess<Told>> {
  return WriterProcess.begin(WRITER, [databasePath]);
}
