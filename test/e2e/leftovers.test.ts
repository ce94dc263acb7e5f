import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { eventually, RIVULET, replicate, replicateOnce, run, runOk, workFolder } from '../support/processes.ts';
import {
  assertClearError,
  assertNoInsides,
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

interface Place {
  readonly folder: string;
  readonly path: string;
  readonly meta: string;
  readonly replica: string;
  readonly url: string;
}

function placeIn(t: TestContext): Place {
  const folder = workFolder(t);
  const replica = join(folder, 'replica');
  const meta = join(folder, '.app.db-rivulet');
  return { folder, path: join(folder, 'app.db'), meta, replica, url: `file://${replica}` };
}

/** Puts something in the way of the next file, without making the replica look empty; returns what takes it away. */
function breakStore({ replica }: Place): () => void {
  const l0 = join(replica, 'ltx/0');
  renameSync(l0, `${l0}-away`);
  writeFileSync(l0, 'in the way');
  return () => {
    rmSync(l0);
    renameSync(`${l0}-away`, l0);
  };
}

/** A replica that has the first rows, and a spool that has more, which were never stored. Returns a dump of all of them. */
async function withUnstored(t: TestContext, place: Place): Promise<string> {
  const db = createDatabase(place.path);
  insertRows(db, 20);
  await replicateOnce(t, place.path, place.url);
  const process = await replicate(t, place.path, place.url);
  const mend = breakStore(place);
  insertRows(db, 30);
  await process.says(/cannot store/);
  process.signal('SIGTERM');
  await process.says(/shutting down/);
  const { status, stdout } = await process.end('SIGTERM');
  assert.equal(status, 1, stdout);
  assert.match(stdout, /stored first at the next start/);
  mend();
  const all = await dump(t, place.path);
  db.close();
  return all;
}

function loseDatabase({ path }: Place): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
}

describe('commits that were captured and not stored, when the database is lost', { skip: skipWithout(SQLITE3) }, () => {
  test('are stored before -restore-if-db-not-exists restores, so they come back', async (t) => {
    const place = placeIn(t);
    const all = await withUnstored(t, place);
    loseDatabase(place);
    await runOk(t, RIVULET, ['replicate', '-once', '-restore-if-db-not-exists', place.path, place.url]);
    assert.equal(await dump(t, place.path), all);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), all);
  });

  test('are kept by restore, which does not have them, and says where', async (t) => {
    const place = placeIn(t);
    await withUnstored(t, place);
    loseDatabase(place);
    const spooled = readdirSync(join(place.meta, 'spool'));
    const said = await runOk(t, RIVULET, ['restore', '-o', place.path, place.url]);
    const folder = /^Not in it: commits that were never stored, kept in (.*)$/m.exec(said)?.[1] ?? '';
    assert.deepEqual(readdirSync(folder), spooled);
    await replicateOnce(t, place.path, place.url);
    assert.deepEqual(readdirSync(folder), spooled, 'nothing of Rivulet touches them');
  });

  test('are kept when they no longer join the replica', async (t) => {
    const place = placeIn(t);
    await withUnstored(t, place);
    loseDatabase(place);
    const spooled = readdirSync(join(place.meta, 'spool'));
    // Another machine went on from the same state, with a TXID 2 of its own.
    const other = join(place.folder, 'other.db');
    await runOk(t, RIVULET, ['restore', '-o', other, place.url]);
    const theirs = openDatabase(other);
    insertRows(theirs, 5);
    theirs.close();
    await replicateOnce(t, other, place.url);
    const process = await replicate(t, place.path, place.url);
    await process.says(/msg=waiting /);
    const folder = /level=WARN msg="files that were not stored .*folder=(\S+)/.exec(process.output)?.[1] ?? '';
    assert.deepEqual(readdirSync(folder), spooled);
    assert.equal((await process.end()).status, 0, process.output);
  });

  test('of an empty replica are stored first, not made anew', async (t) => {
    const place = placeIn(t);
    const db = createDatabase(place.path);
    insertRows(db, 20);
    mkdirSync(join(place.replica, 'ltx'), { recursive: true });
    writeFileSync(join(place.replica, 'ltx/0'), 'in the way');
    const process = await replicate(t, place.path, place.url);
    await process.says(/cannot store/);
    process.signal('SIGTERM');
    await process.says(/shutting down/);
    assert.equal((await process.end('SIGTERM')).status, 1, process.output);
    rmSync(join(place.replica, 'ltx/0'));
    const image = readFileSync(join(place.meta, 'spool', '0000000000000001-0000000000000001.ltx'));
    insertRows(db, 5);
    await replicateOnce(t, place.path, place.url);
    assert.deepEqual(readFileSync(join(place.replica, 'ltx/0', l0Names(place.replica)[0] ?? '')), image);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), await dump(t, place.path));
    db.close();
  });

  test('a restore is refused while a process waits for the database', async (t) => {
    const place = placeIn(t);
    await withUnstored(t, place);
    const process = await replicate(t, place.path, place.url);
    await process.says(/ltx file uploaded/);
    loseDatabase(place);
    await process.says(/msg=waiting /);
    const refused = await run(t, RIVULET, ['restore', '-o', place.path, place.url]);
    assertClearError(refused, /another process on this machine replicates .*app\.db/);
    assert.equal(existsSync(place.path), false);
    assert.equal((await process.end()).status, 0, process.output);
    await runOk(t, RIVULET, ['restore', '-o', place.path, place.url]);
  });

  test('a spool file that something removes ends the replication with an error; the next start compares', async (t) => {
    const place = placeIn(t);
    const db = createDatabase(place.path);
    insertRows(db, 20);
    await replicateOnce(t, place.path, place.url);
    const process = await replicate(t, place.path, place.url);
    const mend = breakStore(place);
    insertRows(db, 30);
    await process.says(/cannot store/);
    for (const name of readdirSync(join(place.meta, 'spool'))) rmSync(join(place.meta, 'spool', name));
    const ended = await process.ended;
    assert.equal(ended.status, 1, process.output);
    assert.match(ended.stderr, /was removed before it was stored/);
    assertNoInsides(process.output);
    mend();
    await replicateOnce(t, place.path, place.url);
    assert.deepEqual(l0Kinds(place.replica), ['image', 'diff']);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), await dump(t, place.path));
    db.close();
  });
});

describe('a replica that went on under the same TXID', { skip: skipWithout(SQLITE3) }, () => {
  test('is told from ours by the checksum of its newest file, and compared', async (t) => {
    const place = placeIn(t);
    const db = createDatabase(place.path);
    insertRows(db, 20);
    await replicateOnce(t, place.path, place.url);
    // Another machine begins from the same state, and stores a TXID 2 of its own.
    const other = join(place.folder, 'other.db');
    await runOk(t, RIVULET, ['restore', '-o', other, place.url]);
    const copy = join(place.folder, 'copy');
    mkdirSync(join(copy, 'ltx/0'), { recursive: true });
    for (const name of ['rivulet.json', `ltx/0/${l0Names(place.replica)[0]}`]) {
      copyFileSync(join(place.replica, name), join(copy, name));
    }
    const theirs = openDatabase(other);
    insertRows(theirs, 5);
    theirs.close();
    await replicateOnce(t, other, `file://${copy}`);
    insertRows(db, 7);
    await replicateOnce(t, place.path, place.url);
    const second = `ltx/0/${l0Names(place.replica)[1]}`;
    copyFileSync(join(copy, second), join(place.replica, second));

    insertRows(db, 3);
    await replicateOnce(t, place.path, place.url);
    assert.equal(l0Kinds(place.replica).at(-1), 'diff');
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), await dump(t, place.path));
    db.close();
  });

  test('after it was read once, the next start knows it again', async (t) => {
    const place = placeIn(t);
    const db = createDatabase(place.path);
    insertRows(db, 20);
    await replicateOnce(t, place.path, place.url);
    rmSync(place.meta, { recursive: true });
    const said = (): Promise<string> => runOk(t, RIVULET, ['replicate', '-once', place.path, place.url]);
    assert.match(await said(), /reading the replica to compare/);
    assert.doesNotMatch(await said(), /reading the replica to compare/);
    db.close();
  });
});

describe('a database whose file is written to past SQLite while it is replicated', {
  skip: skipWithout(SQLITE3),
}, () => {
  test('is let go with one clear error, and nothing of the mixture is stored', async (t) => {
    const place = placeIn(t);
    const db = createDatabase(place.path);
    insertRows(db, 20);
    const before = await dump(t, place.path);
    const process = await replicate(t, place.path, place.url);
    await process.says(/ltx file uploaded/);
    await eventually('the WAL is in the database, and empty', () => {
      const done = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
      return done?.busy === 0 ? true : undefined;
    });
    db.close();
    const other = join(place.folder, 'other.db');
    createDatabase(other).close();
    copyFileSync(other, place.path);
    const ended = await process.ended;
    assert.equal(ended.status, 1, process.output);
    assert.match(ended.stderr, /app\.db was overwritten while it was open/);
    assert.match(ended.stderr, /remove .*app\.db-wal and .*app\.db-shm/);
    assertNoInsides(process.output);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), before);
    for (const suffix of ['-wal', '-shm']) rmSync(place.path + suffix);
    await replicateOnce(t, place.path, place.url);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, place.url)), await dump(t, place.path));
  });
});

test('after a stop the database file alone has every commit, as after any last close', {
  skip: skipWithout(SQLITE3),
}, async (t) => {
  const place = placeIn(t);
  const db = createDatabase(place.path);
  const process = await replicate(t, place.path, place.url);
  insertRows(db, 20);
  db.close();
  assert.equal((await process.end()).status, 0, process.output);
  const alone = join(place.folder, 'alone.db');
  copyFileSync(place.path, alone);
  assert.equal(await dump(t, alone), await dump(t, place.path));
});

describe('files in the way', { skip: skipWithout(SQLITE3) }, () => {
  const refused = async (t: TestContext, args: readonly string[], message: RegExp): Promise<void> => {
    const ended = await run(t, RIVULET, ['replicate', '-once', ...args]);
    assertClearError(ended, message);
    assert.match(ended.stderr, /^Try: /m);
  };

  test('a lock file that is damaged is made anew', async (t) => {
    const place = placeIn(t);
    createDatabase(place.path).close();
    await replicateOnce(t, place.path, place.url);
    writeFileSync(join(place.meta, 'lock'), 'garbage '.repeat(100));
    await replicateOnce(t, place.path, place.url);
  });

  test('a FIFO, a file cut off, a link in a circle, a folder that is a file: each is named', async (t) => {
    const place = placeIn(t);
    createDatabase(place.path).close();
    const at = (name: string): string => join(place.folder, name);
    execFileSync('mkfifo', [at('fifo')]);
    writeFileSync(at('cut.db'), readFileSync(place.path).subarray(0, 100));
    symlinkSync(at('loop'), at('loop'));
    await refused(t, [at('fifo'), place.url], /fifo is not a regular file/);
    await refused(t, [at('cut.db'), place.url], /cut\.db cannot be read: SQLite says/);
    const circular = await run(t, RIVULET, ['replicate', '-once', at('loop'), place.url]);
    assertClearError(circular, /loop is a symbolic link that leads in a circle/);
    await refused(t, [join(place.path, 'x.db'), place.url], /folder .*\.x\.db-rivulet cannot be used/);
    await refused(t, [place.path, '/proc/nowhere'], /nowhere/);
    await refused(t, ['/proc/nowhere.db', place.url], /\.nowhere\.db-rivulet cannot be used/);
  });
});
