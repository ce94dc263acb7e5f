import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import type { Workplace } from './copies.ts';
import { cpuSecondsOf } from './measure.ts';
import type { Tool } from './tools.ts';

const LIMIT_MS = 120_000;
/** Longer than any tool waits before it stores what it has. */
export const SETTLE_MS = 2500;
/** Between two looks at the size of the WAL. */
const LOOK_MS = 20;

/**
 * An application in a process of its own: it says a line once it has the database open, works whenever a line comes on its
 * stdin, tells what it has to tell as one line of JSON, and ends when its stdin does.
 */
export class WriterProcess<Told> {
  readonly #process: LineProcess;
  readonly #lines: string[] = [];
  #worked = 0;

  private constructor(script: string, args: readonly string[]) {
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', script, ...args];
    this.#process = new LineProcess(command, (line) => this.#lines.push(line));
  }

  static async begin<Told>(script: string, args: readonly string[]): Promise<WriterProcess<Told>> {
    const writer = new WriterProcess<Told>(script, args);
    await waitUntil('the application', writer.#process, () => writer.#lines.length > 0);
    return writer;
  }

  /** `order`: a line that says what to do. */
  async work(order = 'go'): Promise<Told> {
    this.#process.write(`${order}\n`);
    const at = ++this.#worked;
    await waitUntil('the end of the work', this.#process, () => this.#lines.length > at);
    return JSON.parse(this.#lines[at] ?? '') as Told; // what the script prints
  }

  end(): Promise<void> {
    return this.#process.kill();
  }
}

/**
 * Lets an application work on a copy of `original` while a tool replicates it, or alone (undefined). Each of its orders is a
 * piece of work; what it tells of the last one counts, and what that costs the tool.
 */
export async function workBeside<Told>(
  tool: Tool | undefined,
  place: Workplace,
  original: string,
  begin: (databasePath: string) => Promise<WriterProcess<Told>>,
  { warmUp, order }: { readonly warmUp?: string; readonly order?: string } = {},
): Promise<{ readonly told: Told; readonly cpuSeconds: number | undefined; readonly walMostBytes: number }> {
  place.reset(original);
  const writer = await begin(place.databasePath);
  const replicator =
    tool && new LineProcess([tool.program, 'replicate', place.databasePath, place.replicaUrl], undefined, tool.env);
  const cpuSeconds = (): number | undefined => replicator && cpuSecondsOf(replicator.pid ?? 0);
  try {
    if (replicator) await waitUntil('the first image', replicator, () => existsSync(firstFile(place)));
    await sleep(SETTLE_MS);
    if (warmUp !== undefined) await writer.work(warmUp);
    const before = cpuSeconds();
    using wal = new SizeWatch(`${place.databasePath}-wal`);
    const told = await writer.work(order);
    await sleep(SETTLE_MS);
    const after = cpuSeconds();
    const spent = before === undefined || after === undefined ? undefined : after - before;
    return { told, cpuSeconds: spent, walMostBytes: wal.mostBytes };
  } finally {
    await Promise.all([writer.end(), replicator?.kill()]);
    place.clear();
  }
}

/** The most bytes that a file had, as far as looking now and then can tell. */
class SizeWatch implements Disposable {
  readonly #timer: NodeJS.Timeout;
  mostBytes = 0;

  constructor(path: string) {
    this.#timer = setInterval(() => {
      this.mostBytes = Math.max(this.mostBytes, statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    }, LOOK_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function firstFile({ replicaPath }: Workplace): string {
  return join(replicaPath, 'ltx/0/0000000000000001-0000000000000001.ltx');
}

/** Waits, for as long as the process runs that it needs. */
export async function waitUntil(what: string, needed: LineProcess, done: () => boolean): Promise<void> {
  for (const until = Date.now() + LIMIT_MS; !done(); await sleep(20)) {
    if (!needed.running) throw new Error(`a process ended before ${what} came:\n${needed.log}`);
    if (Date.now() > until) throw new Error(`${what} did not come in ${LIMIT_MS / 1000} s`);
  }
}
