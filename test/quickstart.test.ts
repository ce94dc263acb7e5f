import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { compareShops } from '../scripts/quickstart/compare.ts';
import { Shop } from '../scripts/quickstart/shop.ts';
import { tempFolder } from './support/temp.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The quickstart as a child process. */
class Run {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = '';

  constructor(...flags: readonly string[]) {
    this.#child = spawn(process.execPath, [join(root, 'scripts/quickstart.ts'), ...flags], { cwd: root });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (bytes) => {
        this.output += bytes;
      });
    }
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
  }

  /** The folder that the run works in. */
  get folder(): string {
    const name = /\.quickstart\/run-\w+/.exec(this.output)?.[0];
    assert(name, this.output);
    return resolve(root, name);
  }

  async saying(pattern: RegExp): Promise<void> {
    for (const until = Date.now() + 20_000; !pattern.test(this.output); await sleep(20)) {
      assert(Date.now() < until, `never said ${pattern}:\n${this.output}`);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Processes that mention the run's folder, by id and command line. */
  processes(): string[] {
    const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n');
    return lines.filter((line) => line.includes(this.folder));
  }
}

test('the quickstart loses nothing, says so, and leaves nothing behind', async () => {
  const run = new Run('--seconds', '3');
  assert.equal(await run.ended, 0, run.output);
  assert.match(run.output, /^ {2}2 s: \d+ commits, \d+ stored, TXID [0-9a-f]{16}, lag \d\.\d\d s$/m);
  assert.match(run.output, /^Restored .* at TXID [0-9a-f]{16} /m);
  assert.match(run.output, /^Lost: nothing\.$/m);
  for (const name of ['commits', 'rows', 'books', 'SQLite', 'pages']) {
    assert.match(run.output, new RegExp(`^ {2}${name} +ok {3}`, 'm'));
  }
  assert.doesNotMatch(run.output, /ExperimentalWarning/);
  assert.equal(existsSync(run.folder), false);
  assert.deepEqual(run.processes(), []);
});

test('a signal ends the quickstart with its processes and its files', async () => {
  const run = new Run('--seconds', '60');
  await run.saying(/^ {2}1 s: /m);
  assert.equal(run.processes().length, 2);
  run.signal('SIGINT');
  assert.equal(await run.ended, 1);
  assert.match(run.output, /^Stopped by SIGINT\.$/m);
  assert.equal(existsSync(run.folder), false);
  assert.deepEqual(run.processes(), []);
});

test('a replication that ends too soon fails the quickstart, which keeps its files', async (t) => {
  const run = new Run('--seconds', '60');
  await run.saying(/^ {2}1 s: /m);
  t.after(() => rmSync(run.folder, { recursive: true, force: true }));
  const replicator = run.processes().find((line) => line.includes(' replicate '));
  process.kill(Number.parseInt(replicator ?? '', 10), 'SIGKILL');
  assert.equal(await run.ended, 1);
  assert.match(run.output, /rivulet replicate ended by itself/);
  assert.equal(existsSync(run.folder), true);
  assert.deepEqual(run.processes(), []);
});

test('a flag that is wrong is explained', async () => {
  for (const flags of [['--seconds', 'many'], ['--seconds', '0'], ['--kep'], ['now']]) {
    const run = new Run(...flags);
    assert.equal(await run.ended, 1);
    assert.match(run.output, /^Error: .*\n\nnpm run quickstart/);
  }
});

/** Two shops that are the same, after some trade. */
function twoShops(t: TestContext): { original: string; restored: string; commits: number } {
  const folder = tempFolder(t);
  const [original, restored] = [join(folder, 'original.db'), join(folder, 'restored.db')];
  const db = new DatabaseSync(original);
  db.exec('PRAGMA synchronous = OFF');
  const shop = new Shop(db);
  let commits = 0;
  while (commits < 200) commits = shop.trade();
  db.close();
  copyFileSync(original, restored);
  return { original, restored, commits };
}

function failed(shops: { original: string; restored: string; commits: number }): string[] {
  const { checks } = compareShops(shops.original, shops.restored, shops.commits);
  return checks.filter((check) => !check.good).map((check) => check.name);
}

test('equal shops compare as equal', (t) => {
  const shops = twoShops(t);
  assert.deepEqual(failed(shops), []);
  assert.equal(compareShops(shops.original, shops.restored, shops.commits).lostCommits, 0);
});

test('each kind of difference between two shops is found', (t) => {
  const changes = {
    'a changed value': ["UPDATE customers SET name = 'Nobody' WHERE id = 77", ['rows', 'pages']],
    'a lost ticket': ['DELETE FROM tickets WHERE id = (SELECT max(id) FROM tickets)', ['rows', 'books', 'pages']],
    'a lost table': ['DROP TABLE payments', ['rows', 'books', 'pages']],
  } as const;
  for (const [name, [sql, expected]] of Object.entries(changes)) {
    const shops = twoShops(t);
    const db = new DatabaseSync(shops.restored);
    db.exec(sql);
    db.close();
    assert.deepEqual(failed(shops), expected, name);
  }
});

test('acknowledged commits that are missing are counted as lost', (t) => {
  const shops = twoShops(t);
  assert.equal(compareShops(shops.original, shops.restored, shops.commits + 3).lostCommits, 3);
});

test('a page that differs where no row lies is found', (t) => {
  const shops = twoShops(t);
  const bytes = readFileSync(shops.restored);
  bytes[95] = 1; // the header's version of the library that wrote last
  writeFileSync(shops.restored, bytes);
  assert.deepEqual(failed(shops), ['pages']);
});

test('a restored file that is no database is a difference, not a crash', (t) => {
  const shops = twoShops(t);
  writeFileSync(shops.restored, 'nothing of the kind');
  assert.deepEqual(failed(shops), ['commits', 'rows', 'books', 'SQLite', 'pages']);
  assert.equal(compareShops(shops.original, shops.restored, shops.commits).lostCommits, shops.commits);
});
