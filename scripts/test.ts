// What `npm test` runs: formatting and lint, types, the import rules, then the tests.
// Usage: npm test [-- WORD…]: only test files whose path contains one of the words.
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  createReadStream,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { RGW, SHARED_RGW, startRgw } from '../test/servers/rgw.ts';
import type { S3Access, Started } from '../test/servers/s3-server.ts';
import { SHARED_SWIFT, SWIFT, startSwift } from '../test/servers/swift.ts';
import { recordOutput } from '../test/support/test-record.ts';
import { Questioning } from './silence.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TEST_TIMEOUT_MS = 5 * 60_000;
/** No word from any test for this long: a file whose tests are over keeps its process alive. */
const SILENCE_LIMIT_MS = TEST_TIMEOUT_MS + 60_000;
const FILES_AT_A_TIME = 2;
/**
 * Once nothing is left to do, a process ends at once: Node, which first waits for its requests to be called back, can do so for
 * ever (seen: 24.21, CleanupHandles, two sockets).
 */
const END_AT_ONCE = `process.once('beforeExit', () => process.on('exit', (status) => process.reallyExit(status)))`;
const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning',
  // A process that ends while V8 compiles in a thread can wait for that for ever: https://github.com/nodejs/node/issues/54918
  '--no-concurrent-recompilation',
  '--no-concurrent-sparkplug',
  `--import=data:text/javascript,${encodeURIComponent(END_AT_ONCE)}`,
];
const PROBE_TIMEOUT_MS = 10_000;

/** A program from outside that some tests need. Without it they are skipped. */
interface OutsideProgram {
  readonly name: string;
  readonly usedFor: string;
  isHere(): boolean;
}

const OUTSIDE_PROGRAMS: readonly OutsideProgram[] = [
  { name: 'sqlite3', usedFor: 'writing and comparing databases from outside', isHere: () => onPath('sqlite3') !== '' },
  { name: 'openssl', usedFor: 'certificates that are not trusted', isHere: () => onPath('openssl') !== '' },
  { name: 'python3', usedFor: 'databases written by another binding', isHere: () => onPath('python3') !== '' },
  { name: 'litestream', usedFor: 'replicas to and from the real Litestream', isHere: findLitestream },
  { name: 'busybox', usedFor: 'the launcher in its shell', isHere: () => onPath('busybox') !== '' },
  { name: 'unshare', usedFor: 'being PID 1 of a container', isHere: () => succeeds('unshare', '-pf', '--mount-proc') },
  {
    name: 'tmpfs',
    usedFor: 'full disks',
    isHere: () => succeeds('unshare', '-m', 'mount', '-t', 'tmpfs', 'none', root),
  },
  { name: RGW.name, usedFor: 'replicas in buckets', isHere: () => RGW.path !== undefined },
  { name: SWIFT.name, usedFor: 'a store without conditional writes', isHere: () => SWIFT.path !== undefined },
];

function onPath(name: string): string {
  const places = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder || '.', name));
  return places.find(isExecutable) ?? '';
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function succeeds(program: string, ...args: readonly string[]): boolean {
  // `unshare` without a command starts a shell, which ends at once without input.
  return spawnSync(program, args, { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0;
}

/** Tests read RIVULET_TEST_LITESTREAM; it is set for them when the binary is in one of the usual places. */
function findLitestream(): boolean {
  const given = process.env.RIVULET_TEST_LITESTREAM;
  if (given) {
    if (!isExecutable(given)) throw new Error(`RIVULET_TEST_LITESTREAM=${given} is not an executable file`);
    return true;
  }
  const places = ['.tools/litestream', '.tools/litestream-pip/bin/litestream'].map((place) => join(root, place));
  const found = places.find(isExecutable) ?? onPath('litestream');
  if (found !== '') process.env.RIVULET_TEST_LITESTREAM = found;
  return found !== '';
}

function announceOutsidePrograms(): void {
  for (const program of OUTSIDE_PROGRAMS) {
    if (!program.isHere()) console.log(`MISSING ${program.name}: its tests are SKIPPED (${program.usedFor})`);
  }
}

/** A server that takes seconds to start, so that all test files share one. Alone, a file starts its own. */
interface SharedServer {
  readonly variable: string;
  isNeededBy(source: string): boolean;
  isHere(): boolean;
  start(): Promise<Started<S3Access>>;
}

const SHARED_SERVERS: readonly SharedServer[] = [
  {
    variable: SHARED_RGW,
    isNeededBy: (source) => source.includes('s3Server'),
    isHere: () => RGW.path !== undefined,
    start: startRgw,
  },
  {
    variable: SHARED_SWIFT,
    isNeededBy: (source) => source.includes('swiftServer'),
    isHere: () => SWIFT.path !== undefined,
    start: startSwift,
  },
];

/** Runs `use` while the servers are up that these test files need. */
async function withServers<T>(files: readonly string[], use: () => Promise<T>): Promise<T> {
  const sources = files.map((file) => readFileSync(file, 'utf8'));
  const needed = SHARED_SERVERS.filter((server) => server.isHere() && sources.some(server.isNeededBy));
  const started = await Promise.all(needed.map(async ({ variable, start }) => ({ variable, server: await start() })));
  try {
    for (const { variable, server } of started) process.env[variable] = JSON.stringify(server.access);
    return await use();
  } finally {
    for (const { server } of started) await server.stop();
  }
}

interface Outcome {
  readonly passed: boolean;
  readonly summary: readonly string[];
}

function check(name: string, script: string, ...args: readonly string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, script), ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  const passed = status === 0;
  if (!passed) console.log(`${stdout}${stderr}`.trimEnd());
  console.log(`${passed ? 'ok    ' : 'FAILED'} ${name}`);
  return { passed, summary: passed ? [] : [`FAILED ${name}`] };
}

/** What came of the tests, gathered while they are reported. */
class Tally {
  readonly #failed: string[] = [];
  readonly #skipped = new Map<string, number>();
  #counts = 'no test ran to its end';
  #passed = false;

  fail(file: string | undefined, line: number | undefined, name: string): void {
    this.#failed.push(`FAILED ${fromRoot(file)}:${line ?? 1} ${fromRoot(name)}`);
  }

  skip(why: string | boolean): void {
    const reason = typeof why === 'string' && why !== '' ? why : 'no reason given';
    this.#skipped.set(reason, (this.#skipped.get(reason) ?? 0) + 1);
  }

  end(counts: Readonly<Record<string, number>>, passed: boolean, durationMs: number): void {
    const failed = (counts.failed ?? 0) + (counts.cancelled ?? 0);
    const seconds = (durationMs / 1000).toFixed(1);
    this.#counts = `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped in ${seconds} s`;
    this.#passed = passed;
  }

  outcome(): Outcome {
    const skipped = [...this.#skipped].map(([reason, count]) => `skipped ${count}: ${reason}`);
    return {
      passed: this.#passed && this.#failed.length === 0,
      summary: [...skipped, ...this.#failed, `tests: ${this.#counts}`],
    };
  }
}

/** A test or suite that failed only because of one inside of it. */
function isFailureOfSubtests(error: Error): boolean {
  return 'failureType' in error && error.failureType === 'subtestsFailed';
}

function fromRoot(file: string | undefined): string {
  return file?.replace(`${root}/`, '') ?? '';
}

async function runTests(files: readonly string[]): Promise<Outcome> {
  const tally = new Tally();
  const abort = new AbortController();
  using questioning = new Questioning();
  let questions: Promise<void> | undefined;
  const watchdog = setTimeout(() => {
    questions = ask();
    questions.catch(() => undefined); // it is waited for below
  }, SILENCE_LIMIT_MS);
  async function ask(): Promise<void> {
    try {
      for (const line of await questioning.ask()) console.log(line);
    } finally {
      abort.abort(
        new Error(`no test said anything for ${SILENCE_LIMIT_MS / 1000} s: something keeps this file from ending`),
      );
    }
  }
  const stream = run({
    files: [...files],
    concurrency: FILES_AT_A_TIME,
    timeout: TEST_TIMEOUT_MS,
    execArgv: [...NODE_FLAGS, ...questioning.flags],
    signal: abort.signal,
  });
  stream.on('data', () => watchdog.refresh());
  stream.on('test:pass', ({ skip }) => skip !== undefined && tally.skip(skip));
  stream.on('test:fail', ({ file, line, name, details }) => {
    if (!isFailureOfSubtests(details.error)) tally.fail(file, line, name);
  });
  stream.on('test:summary', ({ file, counts, success, duration_ms: durationMs }) => {
    const isOfAllFiles = file === undefined;
    if (isOfAllFiles) tally.end({ ...counts }, success, durationMs);
  });
  for await (const text of stream.compose(spec)) {
    process.stdout.write(text);
    recordOutput('the report of the tests', String(text));
  }
  clearTimeout(watchdog);
  await questions;
  return tally.outcome();
}

/** Searches all that the product printed, and the report itself, for every secret that it was given. */
async function searchForSecrets(folder: string): Promise<Outcome> {
  const secrets = new Set<string>();
  for await (const secret of jsonLines(join(folder, 'secrets'))) secrets.add(String(secret));
  const spellings = [...secrets].flatMap((secret) => [...new Set([secret, encodeURIComponent(secret), btoa(secret)])]);
  const betrayals: string[] = [];
  let outputs = 0;
  for await (const line of jsonLines(join(folder, 'output'))) {
    const { command, output } = { command: '', output: '', ...Object(line) };
    outputs++;
    if (spellings.some((spelling) => String(output).includes(spelling))) betrayals.push(String(command));
  }
  // A run of everything that finds nothing to look at has looked in the wrong place.
  const hasLooked = words.length > 0 || (secrets.size > 0 && outputs > 0);
  const passed = betrayals.length === 0 && hasLooked;
  console.log(`${passed ? 'ok    ' : 'FAILED'} no secret is printed (${secrets.size} secrets, ${outputs} outputs)`);
  return { passed, summary: betrayals.slice(0, 5).map((command) => `FAILED a secret is printed by ${command}`) };
}

async function* jsonLines(file: string): AsyncGenerator<unknown> {
  if (!existsSync(file)) return;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    yield JSON.parse(line);
  }
}

const words = process.argv.slice(2);
const files = globSync('test/**/*.test.ts', { cwd: root })
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort()
  .map((file) => resolve(root, file));
if (files.length === 0) throw new Error(`no test file has ${words.join(' or ')} in its path`);

announceOutsidePrograms();
const record = mkdtempSync(join(tmpdir(), 'rivulet-record-'));
process.env.RIVULET_TEST_RECORD = record;
process.once('exit', () => rmSync(record, { recursive: true, force: true }));
const outcomes = [
  check(
    'format and lint (npx biome check --write)',
    'node_modules/@biomejs/biome/bin/biome',
    'check',
    '--error-on-warnings',
    '.',
  ),
  check('types (npx tsc)', 'node_modules/typescript/bin/tsc', '--noEmit'),
  check('imports (node scripts/check-imports.ts)', 'scripts/check-imports.ts'),
  await withServers(files, () => runTests(files)),
  await searchForSecrets(record),
];
const passed = outcomes.every((outcome) => outcome.passed);
console.log(
  ['', ...outcomes.flatMap(({ summary }) => summary), passed ? 'all good' : 'NOT GOOD: see above'].join('\n'),
);
process.exitCode = passed ? 0 : 1;
