import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { LITESTREAM, litestreamReplicate, litestreamRestore } from '../support/litestream.ts';
import { readLtx } from '../support/ltx.ts';
import { eventually, replicate, replicateOnce, type TestProcess, workFolder } from '../support/processes.ts';
import {
  assertContiguous,
  assertSameBytes,
  createDatabase,
  dump,
  insertRows,
  l0Names,
  openDatabase,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';

type L0Kind = 'increment' | 'diff' | 'image' | 'every page';

/** One database and its replica, replicated by one tool after the other. */
class Relay {
  readonly #t: TestContext;
  readonly folder: string;
  readonly path: string;
  readonly replica: string;
  readonly url: string;

  constructor(t: TestContext, pageSize: number) {
    this.#t = t;
    this.folder = workFolder(t);
    this.path = join(this.folder, 'app.db');
    this.replica = join(this.folder, 'replica');
    this.url = `file://${this.replica}`;
    const db = createDatabase(this.path, { pageSize });
    insertRows(db, 100);
    db.close();
  }

  /** The application works while nobody replicates, or while somebody does. */
  work(does: (db: DatabaseSync) => void): void {
    const db = openDatabase(this.path, 0);
    does(db);
    db.close();
  }

  /** Replicates with Rivulet while the application works. */
  async rivuletTurn(): Promise<void> {
    const process = await replicate(this.#t, this.path, this.url);
    await this.#applicationWorks();
    assert.equal((await process.end()).status, 0, process.output);
    assert.doesNotMatch(process.output, /level=ERROR/);
    await this.bothRestore();
  }

  /** Stores with Rivulet what changed since, in one file of the given kind. */
  async rivuletStores(kind: L0Kind): Promise<void> {
    const before = l0Names(this.replica).length;
    await replicateOnce(this.#t, this.path, this.url);
    assert.equal(l0Names(this.replica).length, before + 1, 'one more file in level 0');
    this.assertNewestIs(kind);
    await this.bothRestore();
  }

  /** Replicates with Litestream while the application works. */
  async litestreamTurn(): Promise<void> {
    const process = await this.litestream();
    await this.#applicationWorks();
    const { output } = process;
    await process.end(); // which may break a snapshot off that it has just begun: an error to it
    assert.doesNotMatch(output, /level=ERROR/);
    await this.bothRestore();
  }

  litestream(global: readonly string[] = []): Promise<TestProcess> {
    return litestreamReplicate(this.#t, this.path, this.replica, { global });
  }

  async #applicationWorks(): Promise<void> {
    const db = openDatabase(this.path, 0);
    for (const rows of [20, 1, 200]) {
      insertRows(db, rows);
      db.exec(
        'UPDATE item SET name = name || 1 WHERE id <= 10; DELETE FROM item WHERE id = (SELECT max(id) FROM item)',
      );
      await this.untilStored();
    }
    db.close();
  }

  /** Waits until the replica restores to what the live database holds. */
  async untilStored(): Promise<void> {
    await untilStored(this.#t, this);
  }

  async bothRestore(): Promise<void> {
    assertContiguous(this.replica);
    const source = await dump(this.#t, this.path);
    const ours = await restoreReplica(this.#t, this.folder, this.url);
    const theirs = await litestreamRestore(this.#t, this.folder, this.url);
    assertSameBytes(readFileSync(ours), readFileSync(theirs), `at ${l0Names(this.replica).at(-1)}`);
    assert.equal(await dump(this.#t, ours), source);
  }

  newest(): string {
    return join(this.replica, 'ltx', '0', l0Names(this.replica).at(-1) ?? '');
  }

  assertNewestIs(kind: L0Kind): void {
    const { header, pages } = readLtx(readFileSync(this.newest()));
    const complete = pages.length === header.commit;
    assert.equal(header.wal.offset >= 32n, true, 'Litestream stops for ever at an offset below 32');
    const fromWal = header.wal.size > 0n;
    const found = fromWal ? 'increment' : header.minTxid === 1n ? 'image' : complete ? 'every page' : 'diff';
    assert.equal(found, kind);
  }

  /** What Rivulet keeps beside the database. */
  forgetLocalState(): void {
    rmSync(join(this.folder, '.app.db-rivulet'), { recursive: true });
  }

  inside(name: string): string {
    return join(this.folder, name);
  }
}

describe('Litestream and Rivulet replicate one database in turn', { skip: skipWithout(LITESTREAM, SQLITE3) }, () => {
  for (const pageSize of [512, 4096, 65536]) {
    test(`pages of ${pageSize} bytes: Litestream goes on after every kind of file of ours, and we after its`, async (t) => {
      const relay = new Relay(t, pageSize);
      await relay.rivuletStores('image');
      await relay.litestreamTurn();
      await relay.rivuletTurn();
      relay.assertNewestIs('increment');
      await relay.litestreamTurn();
      relay.work((db) => insertRows(db, 3));
      await relay.rivuletStores('diff');
      await relay.litestreamTurn();
      relay.work((db) => db.exec('DELETE FROM item WHERE id > 250; UPDATE item SET name = 1 WHERE id < 9; VACUUM'));
      await relay.rivuletStores('diff');
      relay.work((db) => insertRows(db, 3));
      relay.forgetLocalState();
      await relay.rivuletStores('diff');
      await relay.litestreamTurn();
      await relay.rivuletTurn();
    });

    test(`pages of ${pageSize} bytes: Litestream goes on after a file of ours that holds every page`, async (t) => {
      const relay = new Relay(t, pageSize);
      await relay.rivuletStores('image');
      relay.work((db) => insertRows(db, 30));
      await relay.litestreamTurn();
      rmSync(relay.path);
      for (const suffix of ['-wal', '-shm']) rmSync(relay.path + suffix, { force: true });
      const other = createDatabase(relay.path, { pageSize });
      other.exec('PRAGMA user_version=7; CREATE TABLE another (a); INSERT INTO another VALUES (randomblob(30))');
      insertRows(other, 50);
      other.close();
      await relay.rivuletStores('every page');
      await relay.litestreamTurn();
      await relay.rivuletTurn();
    });
  }
});

function namesIn(folder: string): string[] {
  return existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith('.ltx'))
        .sort()
    : [];
}

describe('Litestream works on files of ours', { skip: skipWithout(LITESTREAM, SQLITE3) }, () => {
  test('it compacts and snapshots our level 0, drops it, and both restore and go on from the result', async (t) => {
    const relay = new Relay(t, 4096);
    await relay.rivuletTurn();
    relay.work((db) => insertRows(db, 5));
    await relay.rivuletTurn();
    const ours = l0Names(relay.replica);
    const process = await relay.litestream([
      'levels: [{ interval: 1s }, { interval: 2s }]',
      'snapshot: { interval: 2s }',
      'l0-retention: 1s',
      'l0-retention-check-interval: 1s',
    ]);
    await eventually('our files are compacted, in a snapshot and gone from level 0', () => {
      relay.work((db) => insertRows(db, 1));
      const left = l0Names(relay.replica).filter((name) => ours.includes(name));
      const levels = [1, 2, 9].map((level) => namesIn(join(relay.replica, 'ltx', String(level))).length);
      return left.length === 0 && levels.every((count) => count > 0) ? true : undefined;
    });
    await relay.untilStored();
    await process.end();
    await relay.bothRestore();
    await relay.rivuletTurn();
    await relay.litestreamTurn();
  });

  test('files that a killed Litestream had not stored are stored by us first, byte for byte', async (t) => {
    const relay = new Relay(t, 4096);
    const first = await relay.litestream();
    await relay.untilStored();
    await first.end();
    const stored = l0Names(relay.replica);

    const second = await relay.litestream();
    const local = relay.inside('.app.db-litestream/ltx/0');
    relay.work((db) => insertRows(db, 1));
    await relay.untilStored();
    renameSync(relay.replica, relay.inside('replica-away'));
    writeFileSync(relay.replica, 'in the way');
    const before = namesIn(local).length;
    await eventually('files wait in its own folder', () => {
      relay.work((db) => insertRows(db, 1));
      return namesIn(local).length >= before + 3 ? true : undefined;
    });
    await second.end('SIGKILL');
    rmSync(relay.replica);
    renameSync(relay.inside('replica-away'), relay.replica);
    const waiting = namesIn(local).filter((name) => !l0Names(relay.replica).includes(name));
    assert.ok(waiting.length >= 3 && stored.length > 0);
    const bytes = waiting.map((name) => readFileSync(join(local, name)));

    await relay.rivuletTurn();
    for (const [i, name] of waiting.entries()) {
      assertSameBytes(readFileSync(join(relay.replica, 'ltx', '0', name)), bytes[i] ?? Buffer.alloc(0), name);
    }
    await relay.litestreamTurn();
  });
});
