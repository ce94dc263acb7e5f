import assert from 'node:assert/strict';
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, RIVULET, run, runOk, TestProcess, workFolder, writeConfig } from '../support/processes.ts';
import {
  assertClearError,
  assertNoInsides,
  assertSameRows,
  createDatabase,
  dump,
  freshPath,
  insertRows,
  pathOf,
  SmallDisk,
  SQLITE3,
  skipWithout,
  UNSHARE,
} from '../support/tools.ts';

const MIB = 1024 * 1024;
const ROOMY = `size=${64 * MIB}`;

/** A database on a disk with room, and a folder on a disk with little. */
class Place {
  readonly t: TestContext;
  readonly folder: string;
  readonly path: string;
  readonly small: string;
  readonly disk: SmallDisk;
  readonly db: DatabaseSync;

  constructor(t: TestContext, folder: string, disk: SmallDisk) {
    this.t = t;
    this.folder = folder;
    this.path = join(folder, 'app.db');
    this.small = join(folder, 'small');
    this.disk = disk;
    this.db = createDatabase(this.path);
  }

  static async make(t: TestContext): Promise<Place> {
    const folder = workFolder(t);
    return new Place(t, folder, await SmallDisk.mount(t, join(folder, 'small'), MIB));
  }

  replicate(url: string, settings?: Record<string, string>, flags: readonly string[] = []): TestProcess {
    const config = writeConfig(this.path, url, settings);
    return new TestProcess(this.t, ...this.disk.inside([RIVULET, 'replicate', '-config', config, ...flags]));
  }

  async holdsEverything(url: string): Promise<true> {
    const restored = freshPath(this.folder);
    const ended = await run(this.t, ...this.disk.inside([RIVULET, 'restore', '-o', restored, url]));
    assert.equal(ended.status, 0, ended.stdout + ended.stderr);
    assertSameRows(await dump(this.t, restored), await dump(this.t, this.path));
    return true;
  }

  async filesIn(folder: string): Promise<string[]> {
    return (await runOk(this.t, ...this.disk.inside(['find', folder, '-type', 'f']))).trim().split('\n');
  }
}

describe('a disk without room', { skip: skipWithout(SQLITE3, UNSHARE) }, () => {
  test('of the store: said, tried again, and all is stored once there is room', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.small}/replica`;
    insertRows(place.db, 3000, 1000);
    const process = place.replicate(url);
    await process.says(/level=ERROR msg="cannot store: [^"]*" .*(ENOSPC|no space|full)/i);
    insertRows(place.db, 10);
    await place.disk.remount(ROOMY);
    await eventually('all is stored', () => place.holdsEverything(url));
    assert.equal((await process.end()).status, 0, process.output);
    assertNoInsides(process.output);
    place.db.close();
  });

  test('of the store, until we are told twice to end: status 1, the TXIDs named, and the next start goes on', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.small}/replica`;
    insertRows(place.db, 3000, 1000);
    const process = place.replicate(url);
    await process.says(/cannot store/);
    process.signal('SIGTERM');
    await process.says(/shutting down/);
    assert.equal((await process.end('SIGTERM')).status, 1, process.output);
    assert.match(process.output, /not stored: TXID 0000000000000001 to 000000000000000\d of /);
    assertNoInsides(process.output);
    insertRows(place.db, 10);
    await place.disk.remount(ROOMY);
    const again = place.replicate(url);
    await eventually('all is stored', () => place.holdsEverything(url));
    assert.equal((await again.end()).status, 0, again.output);
    const files = await place.filesIn(`${place.small}/replica`);
    assert.deepEqual(
      files.filter((file) => !/\/(rivulet\.json|[0-9a-f]{16}-[0-9a-f]{16}\.ltx)$/.test(file)),
      [],
      'nothing half-done is left in the store',
    );
    place.db.close();
  });

  test('of the spool: capture stops, the application does not; it is caught up with once there is room', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.folder}/replica`;
    insertRows(place.db, 20);
    const process = place.replicate(url, { 'meta-path': join(place.small, 'meta') });
    await eventually('the first rows are stored', () => place.holdsEverything(url));
    insertRows(place.db, 3000, 1000);
    await process.says(/level=ERROR msg="capture suspended" .*ENOSPC/);
    for (let i = 0; i < 20; i++) insertRows(place.db, 100);
    const checkpoint = place.db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    assert.equal(checkpoint?.busy, 0, 'nothing of ours is in the way of the application');
    await place.disk.remount(ROOMY);
    await eventually('all is stored', () => place.holdsEverything(url));
    assert.equal((await process.end()).status, 0, process.output);
    assertNoInsides(process.output);
    assert.match(process.output, /capture resumed/);
    place.db.close();
  });

  test('of the spool, for the very first image: said, and made once there is room', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.folder}/replica`;
    insertRows(place.db, 3000, 1000);
    const process = place.replicate(url, { 'meta-path': join(place.small, 'meta') });
    await process.says(/level=ERROR msg="capture suspended" .*ENOSPC/);
    insertRows(place.db, 10);
    await place.disk.remount(ROOMY);
    await eventually('all is stored', () => place.holdsEverything(url));
    assert.equal((await process.end()).status, 0, process.output);
    place.db.close();
  });

  test('at a start: the command of -exec runs, and what it commits is stored once there is room', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.folder}/replica`;
    insertRows(place.db, 20);
    const settings = { 'meta-path': join(place.small, 'meta') };
    const first = place.replicate(url, settings);
    await eventually('the first rows are stored', () => place.holdsEverything(url));
    assert.equal((await first.end()).status, 0, first.output);
    await runOk(t, ...place.disk.inside(['sh', '-c', `cat /dev/zero > ${place.small}/others 2>/dev/null; true`]));
    insertRows(place.db, 500, 1000);
    const command = 'sh -c "echo the application runs; exec sleep 600"';
    const process = place.replicate(url, settings, ['-exec', command]);
    await process.says(/the application runs/);
    await process.says(/level=ERROR msg="capture suspended" .*ENOSPC/);
    insertRows(place.db, 20);
    await place.disk.remount(ROOMY);
    await eventually('all is stored', () => place.holdsEverything(url));
    await process.end();
    assertNoInsides(process.output);
    place.db.close();
  });

  test('of the database, while the store is away: our files are given up before the application can write no more', async (t) => {
    const folder = workFolder(t);
    const small = join(folder, 'small');
    const disk = await SmallDisk.mount(t, small, 24 * MIB);
    const [path, replica] = [join(small, 'app.db'), join(folder, 'replica')];
    const sql = (text: string, ...flags: string[]): Promise<string> =>
      runOk(t, ...disk.inside([pathOf(SQLITE3), ...flags, '-cmd', '.timeout 20000', path, text]));
    const insert = (kib: number): Promise<string> =>
      sql(`INSERT INTO item SELECT value, randomblob(1024) FROM generate_series(1, ${kib})`);
    const databaseBytes = async (): Promise<number> =>
      Number(await runOk(t, ...disk.inside(['stat', '-c', '%s', path])));
    await sql('PRAGMA journal_mode=wal; CREATE TABLE item (n INTEGER, body BLOB)');
    const config = join(folder, 'config.yml');
    writeFileSync(
      config,
      `dbs: [{path: ${path}, monitor-interval: 50ms, replica: {url: 'file://${replica}', sync-interval: 50ms}}]`,
    );
    const process = new TestProcess(t, ...disk.inside([RIVULET, 'replicate', '-config', config]));
    const holdsEverything = async (): Promise<true> => {
      const restored = freshPath(folder);
      const ended = await run(t, ...disk.inside([RIVULET, 'restore', '-o', restored, `file://${replica}`]));
      assert.equal(ended.status, 0, ended.stdout + ended.stderr);
      assertSameRows(await dump(t, restored), await sql('.dump', '-readonly'));
      return true;
    };
    await eventually('the first rows are stored', holdsEverything);

    // A file where the folder was: nothing can be stored.
    renameSync(replica, `${replica}-away`);
    writeFileSync(replica, '');
    for (let i = 0; !process.output.includes('capture suspended'); i++) {
      assert.ok(i < 200, process.output);
      await insert(256);
      await delay(50);
    }
    for (let i = 0; !process.output.includes('gave up files that were not stored'); i++) {
      assert.ok(i < 200, process.output);
      await insert(64);
      await delay(250);
    }
    // More than fits beside them. Files that are made meanwhile, in case the store is back, are given up as well.
    const given = Number(/gave up files that were not stored.* bytes=(\d+)/.exec(process.output)?.[1]);
    for (let i = 0; (await databaseBytes()) < 25 * MIB - given; i++) {
      assert.ok(i < 200, process.output);
      await insert(128);
      await delay(200);
    }
    rmSync(replica);
    renameSync(`${replica}-away`, replica);
    await process.says(/capture suspended.* reason="no room for local files/); // for so large a difference
    await disk.remount(ROOMY);
    await eventually('all is stored', holdsEverything);
    assert.equal((await process.end()).status, 0, process.output);
    assertNoInsides(process.output);
    assert.match(process.output, /capture resumed/);
  });

  test('of a restore: one error, and nothing half-done is left', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.folder}/replica`;
    insertRows(place.db, 3000, 1000);
    place.db.close();
    await runOk(t, RIVULET, ['replicate', '-once', place.path, url]);
    const target = join(place.small, 'out.db');
    assertClearError(
      await run(t, ...place.disk.inside([RIVULET, 'restore', '-o', target, url])),
      /no (room|space)|full/i,
    );
    assert.deepEqual(await place.filesIn(place.small), ['']);
  });
});

describe('a store that is read-only', { skip: skipWithout(SQLITE3, UNSHARE) }, () => {
  test('one error at the start, and the database is as it was', async (t) => {
    const place = await Place.make(t);
    insertRows(place.db, 10);
    place.db.close();
    const before = readdirSync(place.folder).sort();
    await place.disk.remount('ro');
    const command = [RIVULET, 'replicate', place.path, `file://${place.small}/replica`];
    assertClearError(await run(t, ...place.disk.inside(command)), /small\/replica.*(read-only|EROFS)/is);
    const left = readdirSync(place.folder).filter((name) => name !== '.app.db-rivulet'); // ours, with the lock in it
    assert.deepEqual(left.sort(), before);
  });

  test('since a moment ago: said and tried again, and all is stored once it can be', async (t) => {
    const place = await Place.make(t);
    const url = `file://${place.small}/replica`;
    insertRows(place.db, 10);
    const process = place.replicate(url);
    await eventually('the first rows are stored', () => place.holdsEverything(url));
    await place.disk.remount('ro');
    insertRows(place.db, 10);
    await process.says(/cannot store/);
    await place.disk.remount('rw');
    await eventually('all is stored', () => place.holdsEverything(url));
    assert.equal((await process.end()).status, 0, process.output);
    place.db.close();
  });
});
