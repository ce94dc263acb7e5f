import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
const LIMIT_MS = 120_000;
/** After the first image, so that none of its work is counted. */
const SETTLE_MS = 1500;

export interface StreamSettings {
  readonly commitsPerSecond: number;
  readonly seconds: number;
  /** Default: the tool's own. */
  readonly syncInterval?: string;
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
}

/** Streams with the tool's default settings but for what is given; `tool` undefined: only the application. */
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
  const replication = tool && new Replication(tool, argumentsFor(place, settings), place, writer, page);
  try {
    await replication?.begun();
    await sleep(SETTLE_MS);
    const cpuBefore = replication?.cpuSeconds;
    writer.process.write('go\n');
    await waitUntil('the last commit', [writer.process], () => writer.commits === commits);
    await replication?.stored(commits);
    const cpuAfter = replication?.cpuSeconds;
    const madeMs = (writer.committedAtMs(commits) ?? 0) - (writer.committedAtMs(1) ?? 0);
    return {
      lag: replication?.stream.lags,
      commit: distribution(writer.takenMs),
      commitsPerSecond: (1000 * (commits - 1)) / madeMs,
      cpuSeconds: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
      peakMib: replication?.peakMib,
    };
  } finally {
    await Promise.all([writer.process.kill(), replication?.end()]);
  }
}

function argumentsFor({ folder, databasePath, replicaUrl }: Workplace, { syncInterval }: StreamSettings): string[] {
  if (syncInterval === undefined) return [databasePath, replicaUrl];
  const config = join(folder, 'bench.yml');
  writeFileSync(
    config,
    JSON.stringify({ dbs: [{ path: databasePath, replica: { url: replicaUrl, 'sync-interval': syncInterval } }] }),
  );
  return ['-config', config];
}

/** A tool at work, and what it has stored as seen from outside. */
class Replication {
  readonly stream: Stream;
  readonly #process: LineProcess;
  readonly #watch: StoredCommits;

  constructor(tool: Tool, args: readonly string[], place: Workplace, writer: Application, page: number) {
    const stream = new Stream(writer);
    this.stream = stream;
    this.#process = new LineProcess([tool.program, 'replicate', ...args], undefined, tool.env);
    this.#watch = new StoredCommits(place.replicaPath, page, (file) => stream.add(file));
  }

  get cpuSeconds(): number | undefined {
    return cpuSecondsOf(this.#process.pid ?? 0);
  }

  get peakMib(): number | undefined {
    return peakMibOf(this.#process.pid ?? 0);
  }

  begun(): Promise<void> {
    return waitUntil('the first image', [this.#process], () => this.stream.files > 0);
  }

  stored(commits: number): Promise<void> {
    return waitUntil('the last file', [this.#process], () => this.stream.stored === commits);
  }

  async end(): Promise<void> {
    this.#watch[Symbol.dispose]();
    await this.#process.kill();
  }
}

async function waitUntil(what: string, needed: readonly LineProcess[], done: () => boolean): Promise<void> {
  for (const until = Date.now() + LIMIT_MS; !done(); await sleep(10)) {
    const ended = needed.find((process) => !process.running);
    if (ended) throw new Error(`a process ended before ${what} came:\n${ended.log}`);
    if (Date.now() > until) throw new Error(`${what} did not come in ${LIMIT_MS / 1000} s`);
  }
}
