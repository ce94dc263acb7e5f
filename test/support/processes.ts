import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { recordOutput } from './test-record.ts';

/** Only there to end a test that would hang: no test passes or fails by how fast something is. */
const LIMIT_MS = 60_000;
const POLL_MS = 25;
/** Characters of what a process said that is shown when a test fails while it runs. */
const OUTPUT_SHOWN = 10_000;

export interface ProcessOptions {
  readonly cwd?: string;
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What the process reads from its standard input; default: nothing. */
  readonly input?: string;
}

type Undo = () => void | Promise<void>;
const undos = new WeakMap<TestContext, Undo[]>();

/** Has `undo` called after the test; what was made last is undone first. */
export function undoAfter(t: TestContext, undo: Undo): void {
  const list = undos.get(t) ?? [];
  if (list.length === 0) {
    undos.set(t, list);
    t.after(async () => {
      for (const next of list.reverse()) await next();
    });
  }
  list.push(undo);
}

/** Only to be asked after the test. (Its types do not have it yet.) */
function hasFailed(t: TestContext & { readonly error?: unknown }): boolean {
  return t.error !== undefined && t.error !== null;
}

/** A folder for the files of one test; removed after the processes of the test have ended. */
export function workFolder(t: TestContext): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'rivulet-test-')));
  undoAfter(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** How a process ended. */
export interface Ended {
  /** Its exit status; undefined when a signal ended it. */
  readonly status: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process of a test; it does not outlive the test. */
export class TestProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  #isRunning = true;
  readonly ended: Promise<Ended>;

  constructor(t: TestContext, file: string, args: readonly string[], options: ProcessOptions = {}) {
    this.#name = `${file} ${args.join(' ')}`;
    this.#child = spawn(file, args, { cwd: options.cwd, env: environment(options.env), stdio: 'pipe' });
    this.#child.stdout?.on('data', (bytes: Buffer) => this.#stdout.push(bytes));
    this.#child.stderr?.on('data', (bytes: Buffer) => this.#stderr.push(bytes));
    this.#child.stdin?.on('error', () => undefined); // it may end before it has read everything
    this.#child.stdin?.end(options.input ?? '');
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', () => {
        this.#isRunning = false;
      });
      this.#child.once('close', (status, signal) => {
        const [stdout, stderr] = [this.stdout, this.stderr];
        recordOutput(this.#name, stdout + stderr);
        resolve({ status: status ?? undefined, signal: signal ?? undefined, stdout, stderr });
      });
    });
    this.ended.catch(() => undefined); // whoever waits for the end hears of it
    undoAfter(t, async () => {
      if (this.#isRunning && hasFailed(t))
        t.diagnostic(`${this.#name} was running:\n${this.output.slice(-OUTPUT_SHOWN)}`);
      if (this.#isRunning) this.#child.kill('SIGKILL');
      await this.ended.catch(() => undefined);
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.#name} did not start`);
    return pid;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get stdout(): string {
    return Buffer.concat(this.#stdout).toString();
  }

  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  /** Both streams, standard output first. */
  get output(): string {
    return this.stdout + this.stderr;
  }

  /** Resolves once the output has something like `pattern`; throws when the process ends without it. */
  async says(pattern: RegExp): Promise<RegExpMatchArray> {
    return eventually(`${this.#name} says ${pattern}`, () => {
      const found = pattern.exec(this.output);
      if (!found && !this.#isRunning) throw new Stop(`${this.#name} ended without saying ${pattern}:\n${this.output}`);
      return found ?? undefined;
    }).catch((error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\nIts output:\n${this.output}`);
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends the signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.signal(signal);
    return this.ended;
  }
}

/** Runs a process to its end; one that does not end by itself is killed, and that is an error. */
export async function run(
  t: TestContext,
  file: string,
  args: readonly string[],
  options?: ProcessOptions,
): Promise<Ended> {
  const process = new TestProcess(t, file, args, options);
  let endless = false;
  const timer = setTimeout(() => {
    endless = true;
    process.signal('SIGKILL');
  }, LIMIT_MS);
  try {
    const ended = await process.ended;
    if (endless) throw new Error(`${file} ${args.join(' ')} does not end by itself:\n${process.output}`);
    return ended;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a process to its end, which must be status 0; returns its standard output. */
export async function runOk(
  t: TestContext,
  file: string,
  args: readonly string[],
  options?: ProcessOptions,
): Promise<string> {
  const { status, signal, stdout, stderr } = await run(t, file, args, options);
  if (status === 0) return stdout;
  throw new Error(`${file} ${args.join(' ')} ended with ${signal ?? `status ${status}`}:\n${stdout}${stderr}`);
}

/** A condition that cannot come true any more. */
class Stop extends Error {}

/** Waits until `probe` returns something; what it throws counts as "not yet", and is what is thrown at the limit. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  limitMs = LIMIT_MS,
): Promise<T> {
  const until = Date.now() + limitMs;
  for (;;) {
    let failure: unknown;
    try {
      const result = await probe();
      if (result !== undefined) return result;
    } catch (error) {
      if (error instanceof Stop) throw error;
      failure = error;
    }
    if (Date.now() > until) throw failure ?? new Error(`not within ${limitMs / 1000} s: ${what}`);
    await sleep(POLL_MS);
  }
}

export { sleep };

const FOREIGN_VARIABLES = /^(RIVULET_|LITESTREAM_|AWS_|NODE_TEST_|LOG_LEVEL$)/;

function environment(changes: ProcessOptions['env'] = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !FOREIGN_VARIABLES.test(name));
  const env = { ...Object.fromEntries(own), RIVULET_NODE: process.execPath, ...changes };
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
}

/** The product, as its users start it. */
export const RIVULET = fileURLToPath(new URL('../../bin/rivulet', import.meta.url));

/** Starts `rivulet` with these arguments. */
export function rivulet(t: TestContext, args: readonly string[], options?: ProcessOptions): TestProcess {
  return new TestProcess(t, RIVULET, args, options);
}

/** Writes a configuration in which files are stored soon, beside the database; `settings` are more of its keys. */
export function writeConfig(path: string, url: string, settings: Readonly<Record<string, string>> = {}): string {
  const config = `${path}.rivulet-test.yml`;
  const lines = Object.entries(settings).map(([key, value]) => `    ${key}: ${value}\n`);
  const replica = `    replica: { url: '${url}', sync-interval: 100ms }\n`;
  writeFileSync(config, `dbs:\n  - path: '${path}'\n${lines.join('')}${replica}`);
  return config;
}

/** Starts `rivulet replicate`, quick to store, and waits until it has found out what the replica has. */
export async function replicate(
  t: TestContext,
  path: string,
  url: string,
  args: readonly string[] = [],
): Promise<TestProcess> {
  const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', writeConfig(path, url), ...args]);
  await process.says(/msg="replicating to"/);
  return process;
}

/** `rivulet replicate -once DB URL`: stores what is committed now. */
export async function replicateOnce(t: TestContext, path: string, url: string): Promise<void> {
  await runOk(t, RIVULET, ['replicate', '-once', path, url]);
}
