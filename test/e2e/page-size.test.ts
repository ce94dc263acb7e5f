import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { BUCKET, FakeS3, KEY, REGION, type S3Call } from '../support/fake-s3.ts';
import {
  eventually,
  RIVULET,
  rivulet,
  runOk,
  type TestProcess,
  workFolder,
  writeConfig,
} from '../support/processes.ts';
import { s3Error } from '../support/scripted-server.ts';
import {
  assertSameBytes,
  changePageSize,
  checkpointedBytes,
  createDatabase,
  dump,
  freshPath,
  insertRows,
  openDatabase,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';

const ENV = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };
const LEVEL_0 = 'app/0000/';
const SNAPSHOTS = 'app/0009/';

const txidOf = (id: number): string => id.toString(16).padStart(16, '0');
const nameOf = (min: number, max: number): string => `${txidOf(min)}-${txidOf(max)}.ltx`;

/** A database that is replicated to a bucket, and what it was at each TXID. */
class Place {
  readonly #t: TestContext;
  readonly fake: FakeS3;
  readonly url: string;
  readonly folder: string;
  readonly path: string;
  readonly meta: string;
  readonly #dumps = new Map<number, string>();

  private constructor(t: TestContext, fake: FakeS3, pageSize: number) {
    this.#t = t;
    this.fake = fake;
    this.url = `s3://${BUCKET}/app?endpoint=${fake.server.origin}&region=${REGION}`;
    this.folder = workFolder(t);
    this.path = join(this.folder, 'app.db');
    this.meta = join(this.folder, '.app.db-rivulet');
    const db = createDatabase(this.path, { pageSize });
    insertRows(db, 150);
    db.close();
  }

  static async make(t: TestContext, pageSize = 4096): Promise<Place> {
    return new Place(t, await FakeS3.start(t), pageSize);
  }

  get #level0(): string[] {
    return [...this.fake.objects.keys()].filter((key) => key.startsWith(LEVEL_0)).sort();
  }

  /** The newest TXID; the level 0 files are those from 1 to it. */
  get txid(): number {
    const names = this.#level0.map((key) => key.slice(LEVEL_0.length));
    assert.deepEqual(
      names,
      names.map((_, i) => nameOf(i + 1, i + 1)),
    );
    return names.length;
  }

  /** By their last TXIDs. */
  get snapshots(): number[] {
    const keys = [...this.fake.objects.keys()].filter((key) => key.startsWith(SNAPSHOTS)).sort();
    for (const key of keys) assert.ok(key.startsWith(`${SNAPSHOTS}${txidOf(1)}-`));
    return keys.map((key) => Number.parseInt(key.slice(-20, -4), 16));
  }

  insert(rows = 20): void {
    const db = openDatabase(this.path);
    insertRows(db, rows);
    db.close();
  }

  async run(...args: string[]): Promise<void> {
    await runOk(this.#t, RIVULET, args, { env: ENV });
  }

  async replicate(): Promise<TestProcess> {
    const args = ['replicate', '-log-level', 'debug', '-config', writeConfig(this.path, this.url)];
    const process = rivulet(this.#t, args, { env: ENV });
    await process.says(/msg="replicating to"/);
    return process;
  }

  async noteState(): Promise<void> {
    this.#dumps.set(this.txid, await dump(this.#t, this.path));
  }

  /** Stores what is committed, as one more TXID. */
  async store(): Promise<void> {
    await this.run('replicate', '-once', this.path, this.url);
    await this.noteState();
  }

  async restored(id = this.txid): Promise<string> {
    const path = freshPath(this.folder);
    await this.run('restore', '-integrity-check', 'quick', '-txid', txidOf(id), '-o', path, this.url);
    return path;
  }

  /** Every state that was stored restores as it was, and the newest one byte for byte. */
  async assertRestores(): Promise<void> {
    for (const [id, rows] of this.#dumps) {
      assert.ok((await dump(this.#t, await this.restored(id))) === rows, `TXID ${id}`);
    }
    const path = freshPath(this.folder);
    await this.run('restore', '-o', path, this.url);
    assertSameBytes(readFileSync(path), checkpointedBytes(this.path), 'the restored database and its source');
  }

  async untilStored(): Promise<void> {
    const rows = await dump(this.#t, this.path);
    await eventually('the replica holds everything', async () =>
      (await dump(this.#t, await this.restored())) === rows ? true : undefined,
    );
  }

  /** Lets a process die that captured what there is, while the store took none of these files. */
  async dieUnableToStore(prefix: string): Promise<void> {
    const spooled = this.#spooled();
    this.fake.instead = ({ operation, key }: S3Call) =>
      operation === 'put' && key.startsWith(prefix) ? s3Error(503, 'ServiceUnavailable') : undefined;
    const process = await this.replicate();
    await eventually('a file is captured', () => (this.#spooled() === spooled ? undefined : true));
    await eventually('it cannot be stored', () => (/cannot store/.test(process.output) ? true : undefined));
    await process.end('SIGKILL');
    this.fake.instead = undefined;
  }

  #spooled(): string | undefined {
    const folder = join(this.meta, 'spool');
    if (!existsSync(folder)) return undefined;
    return readdirSync(folder)
      .filter((name) => name.endsWith('.ltx'))
      .sort()
      .at(-1);
  }

  /** Lets a process die that has stored an image's level 0 file, and not its snapshot. */
  async dieBeforeSnapshot(): Promise<void> {
    const before = { txid: this.txid, snapshots: this.snapshots };
    await this.dieUnableToStore(SNAPSHOTS);
    assert.deepEqual({ txid: this.txid, snapshots: this.snapshots }, { ...before, txid: before.txid + 1 });
    await this.noteState();
  }

  loseDatabase(): void {
    for (const suffix of ['', '-wal', '-shm']) rmSync(this.path + suffix, { force: true });
  }
}

describe('a page size that changed while Rivulet was stopped', { skip: skipWithout(SQLITE3) }, () => {
  for (const [from, to] of [
    [4096, 8192],
    [4096, 512],
    [512, 65_536],
    [65_536, 4096],
  ] as const) {
    test(`from ${from} to ${to} bytes: it goes on in the same replica, and every state restores`, async (t) => {
      const place = await Place.make(t, from);
      await place.store();
      place.insert();
      await place.store();
      changePageSize(place.path, to);
      place.insert();
      await place.store();
      assert.deepEqual([place.txid, place.snapshots], [3, [3]]);
      await place.assertRestores();
      place.insert();
      await place.store();
      await place.store();
      assert.equal(place.txid, 4);
      changePageSize(place.path, from);
      await place.store();
      assert.deepEqual([place.txid, place.snapshots], [5, [3, 5]]);
      await place.assertRestores();
      assert.deepEqual(
        readdirSync(place.meta).filter((name) => name.includes('snapshot')),
        [],
      );
    });
  }

  test('is said, with what stays restorable, and the process goes on capturing', async (t) => {
    const place = await Place.make(t);
    await place.store();
    changePageSize(place.path, 1024);
    const process = await place.replicate();
    await process.says(/level=WARN msg="storing the whole database anew".* was 4096 bytes and is 1024 now.*by TXID/);
    for (let i = 0; i < 3; i++) {
      place.insert();
      await place.untilStored();
    }
    assert.equal((await process.end()).status, 0, process.output);
    assert.doesNotMatch(process.output, /level=ERROR/);
    await place.assertRestores();
  });

  test('files from before that were not stored go first', async (t) => {
    const place = await Place.make(t);
    await place.store();
    place.insert();
    await place.dieUnableToStore(LEVEL_0);
    const before = await dump(t, place.path);
    changePageSize(place.path, 512);
    place.insert();
    await place.store();
    assert.deepEqual([place.txid, place.snapshots], [3, [3]]);
    assert.ok((await dump(t, await place.restored(2))) === before);
    await place.assertRestores();
  });

  test('twice while the store was away: each image comes with its snapshot', async (t) => {
    const place = await Place.make(t);
    await place.store();
    const states: string[] = [];
    for (const pageSize of [512, 8192]) {
      changePageSize(place.path, pageSize);
      place.insert();
      await place.dieUnableToStore(LEVEL_0);
      states.push(await dump(t, place.path));
    }
    assert.equal(place.txid, 1);
    await place.store();
    assert.deepEqual([place.txid, place.snapshots], [3, [2, 3]]);
    assert.ok((await dump(t, await place.restored(2))) === states[0]);
    await place.assertRestores();
  });
});

describe('a process that died between an image and its snapshot', { skip: skipWithout(SQLITE3) }, () => {
  test('the newest state restores all the same, and the next start stores the snapshot', async (t) => {
    const place = await Place.make(t);
    await place.store();
    changePageSize(place.path, 8192);
    await place.dieBeforeSnapshot();
    await place.assertRestores();
    await place.store();
    assert.deepEqual([place.txid, place.snapshots], [2, [2]], 'nothing else was stored');
    place.insert();
    await place.store();
    assert.deepEqual([place.txid, place.snapshots], [3, [2]]);
    await place.assertRestores();
  });

  test('with commits since: the snapshot comes before them', async (t) => {
    const place = await Place.make(t);
    await place.store();
    changePageSize(place.path, 512);
    await place.dieBeforeSnapshot();
    place.insert();
    place.fake.calls.length = 0;
    await place.store();
    const stored = place.fake.calls.filter(({ operation }) => operation === 'put').map(({ key }) => key);
    const [snapshot, next] = [SNAPSHOTS + nameOf(1, 2), LEVEL_0 + nameOf(3, 3)];
    assert.ok(stored.indexOf(snapshot) >= 0 && stored.indexOf(snapshot) < stored.indexOf(next), stored.join());
    await place.assertRestores();
  });

  for (const [what, lose] of [
    ['its local state', (place: Place) => rmSync(place.meta, { recursive: true })],
    ['its spool', (place: Place) => rmSync(join(place.meta, 'spool'), { recursive: true })],
  ] as const) {
    test(`and lost ${what}: the next start stores another image, with its snapshot`, async (t) => {
      const place = await Place.make(t);
      await place.store();
      changePageSize(place.path, 8192);
      await place.dieBeforeSnapshot();
      lose(place);
      await place.store();
      assert.deepEqual([place.txid, place.snapshots], [3, [3]]);
      await place.assertRestores();
      await place.store();
      assert.equal(place.txid, 3);
    });
  }

  test('a machine that restores the replica and goes on stores another image, too', async (t) => {
    const place = await Place.make(t);
    await place.store();
    changePageSize(place.path, 8192);
    await place.dieBeforeSnapshot();
    place.loseDatabase();
    rmSync(place.meta, { recursive: true });
    await place.run('restore', '-o', place.path, place.url);
    await place.store();
    assert.deepEqual([place.txid, place.snapshots], [3, [3]]);
    await place.assertRestores();
  });

  for (const prefix of [SNAPSHOTS, LEVEL_0]) {
    test(`whose database is gone: what it could not store (${prefix}) is stored before the restore`, async (t) => {
      const place = await Place.make(t);
      await place.store();
      changePageSize(place.path, 8192);
      await place.dieUnableToStore(prefix);
      const rows = await dump(t, place.path);
      place.loseDatabase();
      await place.run('replicate', '-once', '-restore-if-db-not-exists', place.path, place.url);
      assert.ok((await dump(t, place.path)) === rows);
      assert.deepEqual([place.txid, place.snapshots], [2, [2]]);
      await place.assertRestores();
    });
  }

  test('a snapshot of which the answer was lost, or that is not listed yet, is no conflict', async (t) => {
    const place = await Place.make(t);
    await place.store();
    changePageSize(place.path, 8192);
    let cuts = 0;
    place.fake.instead = ({ operation, key, body }) => {
      if (operation !== 'put' || !key.startsWith(SNAPSHOTS) || cuts++ > 0) return undefined;
      place.fake.store(key, body);
      return 'cut';
    };
    await place.store();
    assert.ok(cuts > 1);
    assert.deepEqual([place.txid, place.snapshots], [2, [2]]);
    await place.assertRestores();
  });
});

test('a database of another page size that is renamed over the one that is captured is stored, with its snapshot', {
  skip: skipWithout(SQLITE3),
}, async (t) => {
  const place = await Place.make(t);
  await place.store();
  const process = await place.replicate();
  place.insert();
  for (const pageSize of [512, 65_536]) {
    const other = await Place.make(t, pageSize);
    const staged = join(place.folder, 'other.db');
    copyFileSync(other.path, staged);
    for (const suffix of ['-wal', '-shm']) rmSync(place.path + suffix, { force: true });
    renameSync(staged, place.path);
    await process.says(new RegExp(`storing the whole database anew.* is ${pageSize} now`));
    place.insert();
    await place.untilStored();
  }
  assert.equal((await process.end()).status, 0, process.output);
  assert.equal(place.snapshots.length, 2);
  await place.assertRestores();
});
