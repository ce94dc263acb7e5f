import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { readLtx } from '../support/ltx.ts';
import {
  eventually,
  type ProcessOptions,
  replicate,
  replicateOnce,
  rivulet,
  type TestProcess,
  workFolder,
  writeConfig,
} from '../support/processes.ts';
import {
  assertClearError,
  assertNoInsides,
  assertSameBytes,
  checkpointedBytes,
  createDatabase,
  dump,
  insertRows,
  l0Kinds,
  l0Names,
  openDatabase,
  restoreReplica,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';

/** The start of every application here: a database, a way to commit, and what it found when it started. */
const PRELUDE = `
const { DatabaseSync } = require('node:sqlite');
const fs = require('node:fs');
const path = process.argv[2];
fs.writeFileSync(path + '.app-started', '');
const found = fs.existsSync(path);
const db = new DatabaseSync(path, { timeout: 20000 });
db.exec('PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, what TEXT)');
const commit = (what) => db.prepare('INSERT INTO log (what) VALUES (?)').run(what);
const rows = db.prepare('SELECT count(*) AS n FROM log').get().n;
`;

class Application {
  readonly #t: TestContext;
  readonly folder: string;
  readonly path: string;
  readonly replica: string;
  readonly url: string;
  /** More lines of its configuration. */
  settings = '';

  constructor(t: TestContext) {
    this.#t = t;
    this.folder = workFolder(t);
    this.path = join(this.folder, 'data', 'app.db');
    mkdirSync(join(this.folder, 'data'));
    this.replica = join(this.folder, 'replica');
    this.url = `file://${this.replica}`;
  }

  /** Starts Rivulet with an application of this body. */
  start(body: string, args: readonly string[] = [], options?: ProcessOptions): TestProcess {
    const script = join(this.folder, 'app.cjs');
    writeFileSync(script, PRELUDE + body);
    const command = `${process.execPath} --disable-warning=ExperimentalWarning '${script}' "${this.path}"`;
    const config = writeConfig(this.path, this.url);
    appendFileSync(config, this.settings);
    return rivulet(this.#t, ['replicate', '-config', config, '-exec', command, ...args], options);
  }

  get wasStarted(): boolean {
    return existsSync(`${this.path}.app-started`);
  }

  /** The column `what` of every row that the replica restores to. */
  async restoredLog(): Promise<string[]> {
    const db = openDatabase(await restoreReplica(this.#t, this.folder, this.url));
    const rows = db.prepare('SELECT what FROM log ORDER BY id').all();
    db.close();
    return rows.map((row) => String(row.what));
  }

  async assertReplicaIsWhole(): Promise<void> {
    const restored = await restoreReplica(this.#t, this.folder, this.url);
    const bytes = readFileSync(restored);
    assert.equal(await dump(this.#t, restored), await dump(this.#t, this.path));
    assertSameBytes(bytes, checkpointedBytes(this.path), 'the restored database and its source');
  }

  /** Rows in a replica, and no database. */
  async fillReplicaAndLoseTheDatabase(rows: number): Promise<void> {
    const db = createDatabase(this.path);
    db.exec('CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)');
    for (let i = 0; i < rows; i++) db.exec("INSERT INTO log (what) VALUES ('before')");
    insertRows(db, 500);
    db.close();
    await replicateOnce(this.#t, this.path, this.url);
    for (const name of readdirSync(join(this.folder, 'data')))
      rmSync(join(this.folder, 'data', name), { recursive: true });
  }

  /** The store takes nothing from now on, until the returned function is called. */
  breakStore(): () => void {
    renameSync(this.replica, `${this.replica}-away`);
    writeFileSync(this.replica, 'in the way');
    return () => {
      rmSync(this.replica);
      renameSync(`${this.replica}-away`, this.replica);
    };
  }
}

describe('replicate -exec', { skip: skipWithout(SQLITE3) }, () => {
  for (const status of [0, 7]) {
    test(`what the application commits right before its end is stored, and its status ${status} is ours`, async (t) => {
      const app = new Application(t);
      const process = app.start(`for (let i = 0; i < 50; i++) commit('row ' + i); process.exit(${status});`);
      const ended = await process.ended;
      assert.equal(ended.status, status, process.output);
      assert.equal((await app.restoredLog()).length, 50);
      await app.assertReplicaIsWhole();
    });
  }

  test('an application that a signal killed gives the status that a shell would give', async (t) => {
    const app = new Application(t);
    const { status } = await app.start(`commit('last'); process.kill(process.pid, 'SIGKILL');`).ended;
    assert.equal(status, 128 + 9);
    assert.deepEqual(await app.restoredLog(), ['last']);
  });

  test('signals reach the application, and those that do not end it end nothing', async (t) => {
    const app = new Application(t);
    const process = app.start(`
      for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.on(signal, () => { commit(signal); console.log('got', signal); });
      process.on('SIGTERM', () => { commit('SIGTERM'); process.exit(0); });
      setInterval(() => undefined, 1000);
      console.log('ready');`);
    await process.says(/ready/);
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
      process.signal(signal);
      await process.says(new RegExp(`got ${signal}`));
    }
    assert.equal((await process.end('SIGTERM')).status, 0, process.output);
    assert.deepEqual(await app.restoredLog(), ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM']);
  });

  for (const [how, body] of [
    ['ends with a status of its own', `process.on('SIGTERM', () => { commit('end'); process.exit(3); });`],
    ['is killed by the signal', `commit('end');`],
  ] as const) {
    test(`a shutdown that was asked for and stored everything is status 0, when the application ${how}`, async (t) => {
      const app = new Application(t);
      const process = app.start(`${body} setInterval(() => undefined, 1000); console.log('ready');`);
      await process.says(/ready/);
      assert.equal((await process.end('SIGTERM')).status, 0, process.output);
      assert.deepEqual(await app.restoredLog(), ['end']);
    });
  }

  test('a second signal gives up, names what is not stored, and the next start stores that first', async (t) => {
    const app = new Application(t);
    app.settings = 'shutdown-sync-timeout: 100h\n'; // only giving up ends the waiting
    const process = app.start(`
      process.on('SIGTERM', () => { commit('last'); process.exit(0); });
      process.on('SIGUSR1', () => { commit('while broken'); console.log('committed'); });
      commit('first'); setInterval(() => undefined, 1000); console.log('ready');`);
    await process.says(/ready/);
    await eventually('the first commit is stored', async () =>
      (await app.restoredLog()).length === 1 ? true : undefined,
    );
    const stored = l0Names(app.replica);
    const mend = app.breakStore();
    process.signal('SIGUSR1');
    await process.says(/committed/);
    await process.says(/cannot store/);
    process.signal('SIGTERM');
    await process.says(/shutting down/);
    const { status } = await process.end('SIGTERM');
    assert.equal(status, 1, process.output);
    const next = (stored.length + 1).toString(16).padStart(16, '0');
    assert.match(process.output, new RegExp(`not stored: TXID ${next} to [0-9a-f]{16} of .*app.db`));
    assertNoInsides(process.output);
    mend();
    assert.deepEqual(l0Names(app.replica), stored);
    await replicateOnce(t, app.path, app.url);
    assert.deepEqual(await app.restoredLog(), ['first', 'while broken', 'last']);
    await app.assertReplicaIsWhole();
  });

  test('a command that cannot be run is one clear error', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    createDatabase(path).close();
    for (const command of ['/no/such/program', "unfinished 'quote"]) {
      const process = rivulet(t, ['replicate', '-exec', command, path, `file://${folder}/replica`]);
      assertClearError(await process.ended, /-exec|cannot run|quot/);
    }
  });
});

describe('replicate -exec -restore-if-db-not-exists', { skip: skipWithout(SQLITE3) }, () => {
  const RESTORE = ['-restore-if-db-not-exists'];

  test('on an empty replica the application starts without a database', async (t) => {
    const app = new Application(t);
    const process = app.start(`console.log('found', found); commit('fresh');`, RESTORE);
    assert.equal((await process.ended).status, 0, process.output);
    assert.match(process.output, /found false/);
    assert.deepEqual(await app.restoredLog(), ['fresh']);
  });

  test('on a filled one the application starts once its database is back and watched; it is not stored again', async (t) => {
    const app = new Application(t);
    await app.fillReplicaAndLoseTheDatabase(12);
    const body = `
      const fds = '/proc/' + process.ppid + '/fd';
      const held = !fs.existsSync(fds) || fs.readdirSync(fds).some((fd) => {
        try { return fs.readlinkSync(fds + '/' + fd) === fs.realpathSync(path); } catch { return false; }
      });
      console.log('found', found, 'with', rows, 'rows, watched', held);
      commit('after');`;
    const process = app.start(body, RESTORE);
    assert.equal((await process.ended).status, 0, process.output);
    assert.match(process.output, /restored the database.*replicating to.*found true with 12 rows, watched true/s);
    assert.equal((await app.restoredLog()).length, 13);
    assert.deepEqual(l0Kinds(app.replica), ['image', 'increment']);
    const last = readFileSync(join(app.replica, 'ltx', '0', l0Names(app.replica).at(-1) ?? ''));
    assert.ok(readLtx(last).pages.length <= 3, 'no more than the pages of one row');
    await app.assertReplicaIsWhole();
  });

  test('where the database exists, it is not restored', async (t) => {
    const app = new Application(t);
    await app.fillReplicaAndLoseTheDatabase(3);
    const process = app.start(`commit('one')`, RESTORE);
    assert.equal((await process.ended).status, 0);
    const again = app.start(`console.log('with', rows, 'rows')`, RESTORE);
    assert.equal((await again.ended).status, 0);
    assert.match(again.output, /exists.*with 4 rows/s);
  });

  test('on a store that cannot be read the application is never started', async (t) => {
    const app = new Application(t);
    await app.fillReplicaAndLoseTheDatabase(2);
    const identity = join(app.replica, 'rivulet.json');
    const image = join(app.replica, 'ltx', '0', l0Names(app.replica)[0] ?? '');
    const refuses = async (message: RegExp): Promise<void> => {
      assertClearError(await app.start(`commit('never')`, RESTORE).ended, message);
      assert.equal(app.wasStarted, false);
    };
    const mend = app.breakStore();
    await refuses(/replica/);
    mend();

    const whole = readFileSync(image);
    writeFileSync(image, whole.subarray(0, whole.length - 30));
    await refuses(/0000000000000001/);
    writeFileSync(image, whole);

    const misplaced = join(app.replica, 'ltx', '0', '0000000000000002-0000000000000002.ltx');
    renameSync(image, misplaced);
    await refuses(/gap/);
    renameSync(misplaced, image);
    assert.equal(existsSync(app.path), false, 'no database was made of any of that');

    const good = readFileSync(identity);
    writeFileSync(identity, 'garbage');
    await refuses(/rivulet\.json cannot be read/);
    writeFileSync(identity, good);

    const process = app.start(`console.log('with', rows); commit('after')`, RESTORE);
    assert.equal((await process.ended).status, 0, process.output);
    assert.match(process.output, /with 2/);
    assert.deepEqual(l0Kinds(app.replica), ['image', 'increment']);
  });
});

test('without an application, SIGINT and SIGTERM end with status 0 once everything is stored', {
  skip: skipWithout(SQLITE3),
}, async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const app = new Application(t);
    const db = createDatabase(app.path);
    const process = await replicate(t, app.path, app.url);
    process.signal('SIGUSR1'); // would have Node open its debugger
    for (let i = 0; i < 30; i++) insertRows(db, 3);
    const { status } = await process.end(signal);
    assert.equal(status, 0, process.output);
    assert.doesNotMatch(process.output, /Debugger/);
    db.close();
    await app.assertReplicaIsWhole();
  }
});
