import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { claimDatabase, releaseDatabase } from '../../src/base/database-files.ts';
import { Replica } from '../../src/replica/replica.ts';
import { type RestoreOptions, type RestoreResult, restoreDatabase } from '../../src/restore/restore.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import { tempFolder } from '../support/temp.ts';
import { MemoryStore, sqliteHistory } from './history.ts';

/** A replica of a small real database, and an empty folder to restore to. */
function setUp(t: TestContext): {
  folder: string;
  path: string;
  expected: Buffer;
  store: MemoryStore;
  restore: (options?: Partial<RestoreOptions>) => Promise<RestoreResult>;
} {
  const made = tempFolder(t);
  const history = sqliteHistory(made, [
    'CREATE TABLE item (name TEXT)',
    "INSERT INTO item VALUES ('from the replica')",
  ]);
  const store = new MemoryStore();
  store.addFile(history, 0, 1, 1);
  store.addFile(history, 0, 2, 2);
  const folder = tempFolder(t);
  const path = join(folder, 'app.db');
  const restore = (options = {}): Promise<RestoreResult> =>
    restoreDatabase(new Replica(store), { outputPath: path, ...options });
  return { folder, path, expected: history.state(2), store, restore };
}

/** Everything in a folder, except Rivulet's own, with its contents. */
function contents(folder: string): Map<string, string> {
  const names = fs.readdirSync(folder).filter((name) => !name.endsWith('-rivulet'));
  return new Map(names.sort().map((name) => [name, fs.readFileSync(join(folder, name)).toString('latin1')]));
}

function itemsOf(path: string): unknown[] {
  const database = new DatabaseSync(path);
  try {
    return database
      .prepare('SELECT name FROM item')
      .all()
      .map((row) => row.name);
  } finally {
    database.close();
  }
}

describe('where a database is restored to', () => {
  test('missing parent folders are made', async (t) => {
    const { folder, expected, restore } = setUp(t);
    const outputPath = join(folder, 'a/b/c/app.db');
    const result = await restore({ outputPath });
    assert.equal(result.outputPath, fs.realpathSync(outputPath));
    assert.ok(fs.readFileSync(outputPath).equals(expected));
    assert.deepEqual(result.movedAside, []);
  });

  test('an existing database is left as it is without force', async (t) => {
    const { folder, path, store, restore } = setUp(t);
    fs.writeFileSync(path, 'something of value');
    const before = contents(folder);
    await assert.rejects(restore(), (error: Error & { next?: string; kept?: string }) => {
      assert.match(`${error.message} ${error.kept} ${error.next}`, /app\.db already exists .*left as it is .*-force/);
      return 'code' in error && error.code === 'OUTPUT_EXISTS';
    });
    assert.deepEqual(contents(folder), before);
    assert.equal(store.opens, 0, 'nothing was fetched');
  });

  test('with force the old database and its sidecars go aside under one name, whole', async (t) => {
    const { folder, path, expected, restore } = setUp(t);
    // Killed, so that its commits are in its -wal alone.
    const child = await sqliteProcess(t, path);
    await child.run('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE item (name TEXT)');
    await child.run("INSERT INTO item VALUES ('old'); INSERT INTO item VALUES ('older')");
    const names = ['', '-shm', '-wal'];
    const copy = join(tempFolder(t), 'killed.db');
    for (const suffix of names) fs.copyFileSync(path + suffix, copy + suffix);
    await child.close();
    for (const suffix of names) fs.copyFileSync(copy + suffix, path + suffix);

    const result = await restore({ force: true });
    assert.ok(fs.readFileSync(path).equals(expected));
    const [main] = result.movedAside;
    assert.match(main ?? '', /app\.db\.before-restore-\d{8}T\d{6}Z$/);
    const aside = names.map((suffix) => main + suffix);
    assert.deepEqual([...result.movedAside].sort(), aside);
    assert.deepEqual([...contents(folder).keys()], ['app.db', ...aside.map((name) => basename(name))]);
    assert.deepEqual(itemsOf(path), ['from the replica']);
    assert.deepEqual(itemsOf(main ?? ''), ['old', 'older']);
  });

  test('what is moved aside twice in a second gets two names', async (t) => {
    const { folder, path, restore } = setUp(t);
    const moved = new Set<string>();
    for (let i = 0; i < 4; i++) {
      fs.writeFileSync(path, `old ${i}`);
      for (const name of (await restore({ force: true })).movedAside) moved.add(name);
    }
    assert.equal(moved.size, 4);
    assert.deepEqual(
      [...moved].map((name) => fs.readFileSync(name, 'utf8')),
      ['old 0', 'old 1', 'old 2', 'old 3'],
    );
    assert.equal(contents(folder).size, 5);
  });

  test('a file of no bytes is replaced without force, but not when it has sidecars', async (t) => {
    const { path, expected, restore } = setUp(t);
    fs.writeFileSync(path, '');
    assert.deepEqual((await restore()).movedAside, []);
    assert.ok(fs.readFileSync(path).equals(expected));

    fs.rmSync(path);
    fs.writeFileSync(path, '');
    fs.writeFileSync(`${path}-journal`, 'all its data may be here');
    await assert.rejects(restore(), { code: 'OUTPUT_EXISTS' });
    const { movedAside } = await restore({ force: true });
    assert.equal(fs.readFileSync(movedAside[1] ?? '', 'utf8'), 'all its data may be here');
  });

  test('sidecars without a database go aside: they would be replayed into the new one', async (t) => {
    const { folder, path, expected, restore } = setUp(t);
    fs.writeFileSync(`${path}-wal`, 'a foreign WAL');
    fs.writeFileSync(`${path}-shm`, '');
    const { movedAside } = await restore();
    assert.deepEqual(
      movedAside.map((name) => name.replace(/\d{8}T\d{6}Z/, 'TIME').slice(folder.length + 1)),
      ['app.db.before-restore-TIME-wal', 'app.db.before-restore-TIME-shm'],
    );
    assert.equal(fs.readFileSync(movedAside[0] ?? '', 'utf8'), 'a foreign WAL');
    assert.ok(fs.readFileSync(path).equals(expected));
    assert.equal(fs.existsSync(`${path}-wal`), false);
  });

  test('a folder, and a file in place of a folder, are refused with or without force', async (t) => {
    const { folder, path, restore } = setUp(t);
    fs.mkdirSync(path);
    for (const force of [false, true]) await assert.rejects(restore({ force }), { code: 'OUTPUT_NOT_A_FILE' });
    fs.writeFileSync(join(folder, 'file'), 'x');
    const outputPath = join(folder, 'file/app.db');
    await assert.rejects(restore({ outputPath, force: true }), { code: 'OUTPUT_NOT_WRITABLE' });
    assert.equal(fs.readFileSync(join(folder, 'file'), 'utf8'), 'x');
  });

  test('through a symbolic link the file behind it is replaced, and the link stays', async (t) => {
    const { folder, path, expected, restore } = setUp(t);
    fs.mkdirSync(join(folder, 'data'));
    fs.writeFileSync(join(folder, 'data/real.db'), 'old');
    fs.symlinkSync('data/real.db', path);
    const { movedAside } = await restore({ force: true });
    assert.ok(fs.lstatSync(path).isSymbolicLink());
    assert.ok(fs.readFileSync(join(folder, 'data/real.db')).equals(expected));
    assert.match(movedAside[0] ?? '', /data\/real\.db\.before-restore-/);

    const dangling = join(folder, 'dangling.db');
    fs.symlinkSync('data/yet-to-come.db', dangling);
    await restore({ outputPath: dangling });
    assert.ok(fs.readFileSync(join(folder, 'data/yet-to-come.db')).equals(expected));
    fs.symlinkSync('circle.db', join(folder, 'circle.db'));
    await assert.rejects(restore({ outputPath: join(folder, 'circle.db') }), { code: 'PATH_CIRCULAR' });
  });

  test('a new database has the permissions that SQLite would give it, a replaced one those it had', async (t) => {
    const { folder, path, restore } = setUp(t);
    await restore();
    const sibling = join(folder, 'by-sqlite.db');
    const database = new DatabaseSync(sibling);
    database.exec('CREATE TABLE t (x)');
    database.close();
    assert.equal(fs.statSync(path).mode, fs.statSync(sibling).mode);
    fs.chmodSync(path, 0o640);
    if (process.geteuid?.() === 0) fs.chownSync(path, 1234, 2345);
    const { uid, gid, mode } = fs.statSync(path);
    await restore({ force: true });
    const after = fs.statSync(path);
    assert.deepEqual([after.uid, after.gid, after.mode], [uid, gid, mode]);
  });

  test('what appears there while the database is fetched is not overwritten', async (t) => {
    const { path, store, restore } = setUp(t);
    store.onOpen = () => fs.writeFileSync(path, 'made meanwhile');
    await assert.rejects(restore(), { code: 'OUTPUT_EXISTS' });
    assert.equal(fs.readFileSync(path, 'utf8'), 'made meanwhile');
    const { movedAside } = await restore({ force: true });
    assert.equal(fs.readFileSync(movedAside[0] ?? '', 'utf8'), 'made meanwhile');
  });

  test('files that an interrupted restore left are removed, those of one that runs are not', async (t) => {
    const { folder, path, restore } = setUp(t);
    const gone = `${path}.${process.pid}-0123abcd.tmp`;
    const running = `${path}.${process.ppid}-0123abcd.tmp`;
    const recent = `${path}.${process.pid}-89abcdef.tmp`;
    const foreign = join(folder, `app.db2.${process.pid}-0123abcd.tmp`);
    for (const file of [gone, running, recent, foreign]) fs.writeFileSync(file, 'half a database');
    for (const file of [gone, running, foreign]) fs.utimesSync(file, 1, 1);
    await restore();
    assert.deepEqual(
      [gone, running, recent, foreign].map((file) => fs.existsSync(file)),
      [false, true, true, true],
    );
  });
});

describe('a database that is in use', () => {
  const refused = { code: 'DATABASE_IN_USE', kept: 'nothing was changed' };

  test('by an idle connection of another process is not replaced, in either journal mode', async (t) => {
    for (const mode of ['delete', 'wal']) {
      const { folder, path, restore } = setUp(t);
      const child = await sqliteProcess(t, path);
      await child.run(`PRAGMA journal_mode = ${mode}; CREATE TABLE item (name TEXT); SELECT * FROM item`);
      const before = contents(folder);
      await assert.rejects(restore({ force: true }), {
        ...refused,
        message: /app\.db is in use: open in process \d+ \(/,
      });
      assert.deepEqual(contents(folder), before);
      await child.run("INSERT INTO item VALUES ('goes on')");
      await child.close();
      assert.equal((await restore({ force: true })).movedAside.length, 1);
    }
  });

  test('by this process is not replaced', async (t) => {
    const { path, restore } = setUp(t);
    const database = new DatabaseSync(path);
    database.exec('PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT)');
    await assert.rejects(restore({ force: true }), { ...refused, message: /open in this very process/ });
    database.close();
    await restore({ force: true });
  });

  test('from the time that its backup is fetched is not replaced', async (t) => {
    const { folder, path, store, restore } = setUp(t);
    const child = await sqliteProcess(t, path);
    await child.run('PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT)');
    await child.close();
    let late: Awaited<ReturnType<typeof sqliteProcess>> | undefined;
    store.onOpen = async () => {
      late ??= await sqliteProcess(t, path);
      await late.run('SELECT * FROM item');
    };
    await assert.rejects(restore({ force: true }), refused);
    assert.deepEqual([...contents(folder).keys()], ['app.db', 'app.db-shm', 'app.db-wal']);
    await late?.run("INSERT INTO item VALUES ('goes on')");
  });

  test('is not replaced while only its -wal is open: a database was deleted under its process', async (t) => {
    const { path, restore } = setUp(t);
    const child = await sqliteProcess(t, path);
    await child.run('PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT)');
    fs.rmSync(path);
    await assert.rejects(restore(), refused);
  });

  test('by a capture of this process is not replaced, empty or not', async (t) => {
    const { path, restore } = setUp(t);
    fs.writeFileSync(path, '');
    const claim = claimDatabase(path);
    t.after(() => releaseDatabase(claim));
    for (const force of [false, true]) await assert.rejects(restore({ force }), { code: 'DATABASE_UNDER_CAPTURE' });
  });

  test('is looked at without any change to it: no checkpoint, no rollback, not a byte', async (t) => {
    const { folder, path, store, restore } = setUp(t);
    // A hot journal and a WAL would be applied by an ordinary connection; a file that is no database must survive, too.
    for (const old of ['not a database, but of value', fs.readFileSync(process.execPath).subarray(0, 5000)]) {
      for (const suffix of ['', '-wal', '-shm', '-journal']) fs.writeFileSync(path + suffix, old);
      const before = contents(folder);
      store.onOpen = () => {
        assert.deepEqual(
          [...contents(folder)].filter(([name]) => !name.endsWith('.tmp')),
          [...before],
        );
        throw new Error('enough');
      };
      await assert.rejects(restore({ force: true }), { message: 'enough' });
      assert.deepEqual(contents(folder), before);
    }
  });
});
