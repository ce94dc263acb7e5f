import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Application } from '../scripts/quickstart/application.ts';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import { StoredCommits } from '../scripts/quickstart/stored-commits.ts';
import { type Distribution, distribution, Stream } from '../scripts/quickstart/stream.ts';
import type { Workplace } from './copies.ts';
import { cpuSecondsOf, peakMibOf } from './measure.ts';
import type { Tool } from './tools.ts';

const WRITER = fileURLToPath(new URL('writer.ts', import.meta.url));
const LIMIT_MS = 60_000;
/** After the first image, so that none of its work is counted. */
const SETTLE_MS = 1500;

export interface StreamSettings {
  readonly commitsPerSecond: number;
  readonly seconds: number;
}

/** A steady stream of commits, with or without a tool that replicates them. */
export interface SteadyFigures {
  /** From a commit to the moment its file is in the replica. */
  readonly lag: Distribution | undefined;
  /** What the application waits for a commit. */
  readonly commit: Distribution | undefined;
  readonly commitsPerSecond: number;
  /** Of the tool, from the first commit until the last one is stored, s. */
  readonly cpuSeconds: number | undefined;
  readonly peakMib: number | undefined;
  readonly files: number | undefined;
}

/** Streams with the tool's default settings; `tool` undefined: only the application. */
export async function steadyStream(
  tool: Tool | undefined,
  place: Workplace,
  original: string,
  settings: StreamSettings,
): Promise<SteadyFigures> {
  place.reset(original);
  const commits = settings.commitsPerSecond * settings.seconds;
  const writer = new Application(WRITER, place.databasePath, String(settings.commitsPerSecond), String(commits));
  const page = await writer.opened;
  const stream = new Stream(writer);
  const replicator =
    tool && new LineProcess([tool.program, 'replicate', place.databasePath, place.replicaUrl], undefined, tool.env);
  using _watch = tool && new StoredCommits(place.replicaPath, page, (file) => stream.add(file));
  const pid = replicator?.pid ?? 0;
  try {
    const waitFor = async (what: string, done: () => boolean): Promise<void> => {
      for (const until = Date.now() + settings.seconds * 1000 + LIMIT_MS; !done(); await sleep(10)) {
        if (replicator && !replicator.running) throw new Error(`${tool.name} ended by itself:\n${replicator.log}`);
        if (!writer.process.running) throw new Error(`the writer ended by itself:\n${writer.process.log}`);
        if (Date.now() > until) throw new Error(`${tool?.name ?? 'the writer'}: ${what} did not come`);
      }
    };
    if (tool) await waitFor('the first image', () => stream.files > 0);
    await sleep(SETTLE_MS);
    const cpuBefore = cpuSecondsOf(pid);
    writer.process.write('go\n');
    await waitFor('the last commit', () => stream.commits === commits);
    if (tool) await waitFor('the last file', () => stream.stored === commits);
    const cpuAfter = cpuSecondsOf(pid);
    const madeMs = (writer.committedAtMs(commits) ?? 0) - (writer.committedAtMs(1) ?? 0);
    return {
      lag: stream.lags,
      commit: distribution(writer.takenMs),
      commitsPerSecond: (1000 * (commits - 1)) / madeMs,
      cpuSeconds: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
      peakMib: peakMibOf(pid),
      files: tool && stream.files - 1,
    };
  } finally {
    await Promise.all([writer.process.kill(), replicator?.kill()]);
  }
}
