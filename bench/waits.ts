import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import type { Workplace } from './copies.ts';
import { median } from './figures.ts';
import { cpuSecondsOf } from './measure.ts';
import type { Tool } from './tools.ts';

const WRITER = fileURLToPath(new URL('waits-writer.ts', import.meta.url));
const LIMIT_MS = 120_000;
/** Longer than any tool waits before it stores what it has. */
const SETTLE_MS = 2500;
/** Commits from which the size of all is known. */
const SAMPLE = 2000;

/** How an application commits. */
export interface Pace {
  readonly name: string;
  /** 0: as fast as it can. */
  readonly commitsPerSecond: number;
  readonly commits: number;
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
}

/** What the application tells at its end. */
interface Told {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  readonly seconds: number;
}

interface Run extends Told {
  /** Of the tool. */
  readonly cpuSeconds: number | undefined;
}

/** Lets an application commit beside each of the tools in turn, and alone (undefined). */
export async function waits(
  tools: readonly (Tool | undefined)[],
  placeOf: (name: string) => Workplace,
  original: string,
  pace: Pace,
  runs: number,
): Promise<Readonly<Record<string, WaitFigures>>> {
  const walMb = (pace.commits * (await walBytesACommit(placeOf('wal'), original))) / 1e6;
  const all = new Map<string, Run[]>();
  for (let run = 0; run < runs; run++) {
    for (const tool of tools) {
      const name = tool?.name ?? 'alone';
      all.set(name, [...(all.get(name) ?? []), await once(tool, placeOf(name), original, pace)]);
    }
  }
  return Object.fromEntries([...all].map(([name, measured]) => [name, middleOf(measured, pace.commits, walMb)]));
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
  };
}

/** Bytes that the application writes to its WAL for a commit: some of the same work, in a WAL that a read keeps from being restarted. */
async function walBytesACommit(place: Workplace, original: string): Promise<number> {
  place.reset(original);
  const reader = new DatabaseSync(place.databasePath, { readOnly: true });
  const writer = await Writer.begin(place, { name: 'sample', commitsPerSecond: 0, commits: SAMPLE });
  try {
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM sqlite_schema').get();
    await writer.commit();
    return statSync(`${place.databasePath}-wal`).size / SAMPLE;
  } finally {
    await writer.end();
    reader.close();
    place.clear();
  }
}

async function once(tool: Tool | undefined, place: Workplace, original: string, pace: Pace): Promise<Run> {
  place.reset(original);
  const writer = await Writer.begin(place, pace);
  const replicator =
    tool && new LineProcess([tool.program, 'replicate', place.databasePath, place.replicaUrl], undefined, tool.env);
  const cpuSeconds = (): number | undefined => replicator && cpuSecondsOf(replicator.pid ?? 0);
  try {
    if (replicator) await waitUntil('the first image', replicator, () => existsSync(firstFile(place)));
    await sleep(SETTLE_MS);
    const before = cpuSeconds();
    const told = await writer.commit();
    await sleep(SETTLE_MS);
    const after = cpuSeconds();
    return { ...told, cpuSeconds: before === undefined || after === undefined ? undefined : after - before };
  } finally {
    await Promise.all([writer.end(), replicator?.kill()]);
    place.clear();
  }
}

function firstFile({ replicaPath }: Workplace): string {
  return join(replicaPath, 'ltx/0/0000000000000001-0000000000000001.ltx');
}

/** The application: a process of its own, with the database open. */
class Writer {
  readonly #process: LineProcess;
  readonly #lines: string[] = [];

  private constructor(place: Workplace, { commitsPerSecond, commits }: Pace) {
    this.#process = new LineProcess(
      [
        process.execPath,
        '--disable-warning=ExperimentalWarning',
        WRITER,
        place.databasePath,
        String(commitsPerSecond),
        String(commits),
      ],
      (line) => this.#lines.push(line),
    );
  }

  static async begin(place: Workplace, pace: Pace): Promise<Writer> {
    const writer = new Writer(place, pace);
    await waitUntil('the application', writer.#process, () => writer.#lines.length > 0);
    return writer;
  }

  async commit(): Promise<Told> {
    this.#process.write('go\n');
    await waitUntil('the last commit', this.#process, () => this.#lines.length > 1);
    return JSON.parse(this.#lines[1] ?? '') as Told; // what the writer prints
  }

  end(): Promise<void> {
    return this.#process.kill();
  }
}

async function waitUntil(what: string, needed: LineProcess, done: () => boolean): Promise<void> {
  for (const until = Date.now() + LIMIT_MS; !done(); await sleep(20)) {
    if (!needed.running) throw new Error(`a process ended before ${what} came:\n${needed.log}`);
    if (Date.now() > until) throw new Error(`${what} did not come in ${LIMIT_MS / 1000} s`);
  }
}
