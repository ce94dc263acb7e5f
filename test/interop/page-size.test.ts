import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { LITESTREAM, litestreamReplicate, litestreamRestore } from '../support/litestream.ts';
import { RIVULET, replicate, replicateOnce, run, runOk, workFolder } from '../support/processes.ts';
import {
  assertContiguous,
  assertSameBytes,
  changePageSize,
  checkpointedBytes,
  createDatabase,
  dump,
  freshPath,
  insertRows,
  l0Names,
  openDatabase,
  pathOf,
  restoreReplica,
  SQLITE3,
  skipWithout,
  snapshotNames,
  untilStored,
} from '../support/tools.ts';

const txidOf = (id: number): string => id.toString(16).padStart(16, '0');
const MISMATCH = /input files have mismatched page sizes/;

class Place {
  readonly #t: TestContext;
  readonly folder: string;
  readonly path: string;
  readonly meta: string;
  readonly replica: string;
  readonly url: string;
  readonly #dumps = new Map<number, string>();

  constructor(t: TestContext, pageSize: number) {
    this.#t = t;
    this.folder = workFolder(t);
    this.path = join(this.folder, 'app.db');
    this.meta = join(this.folder, '.app.db-rivulet');
    this.replica = join(this.folder, 'replica');
    this.url = `file://${this.replica}`;
    const db = createDatabase(this.path, { pageSize });
    insertRows(db, 100);
    db.close();
  }

  insert(): void {
    const db = openDatabase(this.path, 0);
    insertRows(db, 20);
    db.close();
  }

  async store(): Promise<void> {
    await replicateOnce(this.#t, this.path, this.url);
    await this.noteState();
  }

  async noteState(): Promise<void> {
    this.#dumps.set(l0Names(this.replica).length, await dump(this.#t, this.path));
  }

  /** Lets a process die that has stored an image's level 0 file, and not its snapshot. */
  async dieBeforeSnapshot(): Promise<void> {
    const level = join(this.replica, 'ltx', '9');
    writeFileSync(level, 'in the way');
    const process = await replicate(this.#t, this.path, this.url);
    await process.says(/cannot store/);
    await process.end('SIGKILL');
    rmSync(level);
    await this.noteState();
  }

  /** Litestream replicates while the application works. */
  async litestreamTurn(global: readonly string[] = []): Promise<string> {
    const process = await litestreamReplicate(this.#t, this.path, this.replica, { global });
    for (let i = 0; i < 3; i++) {
      this.insert();
      await this.untilStored();
    }
    await process.end();
    return process.output;
  }

  async untilStored(): Promise<void> {
    await untilStored(this.#t, this);
  }

  async bothRestore(txids: Iterable<number> = this.#dumps.keys()): Promise<void> {
    assertContiguous(this.replica);
    const source = await dump(this.#t, this.path);
    const ours = await restoreReplica(this.#t, this.folder, this.url);
    const theirs = await litestreamRestore(this.#t, this.folder, this.url);
    assertSameBytes(readFileSync(ours), readFileSync(theirs), `at ${l0Names(this.replica).at(-1)}`);
    assert.ok((await dump(this.#t, ours)) === source);
    for (const id of txids) await this.bothRestoreTo(id);
  }

  async bothRestoreTo(id: number): Promise<void> {
    for (const program of [RIVULET, pathOf(LITESTREAM)]) {
      const path = freshPath(this.folder);
      await runOk(this.#t, program, ['restore', '-txid', txidOf(id), '-o', path, this.url]);
      assert.ok((await dump(this.#t, path)) === this.#dumps.get(id), `${program} to TXID ${id}`);
    }
  }

  /** What Litestream says to a restore of the newest state, which it cannot do. */
  async litestreamRefuses(): Promise<string> {
    const path = freshPath(this.folder);
    const { status, stdout, stderr } = await run(this.#t, pathOf(LITESTREAM), ['restore', '-o', path, this.url]);
    assert.notEqual(status, 0);
    return stdout + stderr;
  }
}

describe('a page size that changed, and a real Litestream', { skip: skipWithout(LITESTREAM, SQLITE3) }, () => {
  for (const [from, to] of [
    [512, 65_536],
    [4096, 512],
    [65_536, 4096],
  ] as const) {
    test(`from ${from} to ${to} bytes: both restore every state, Litestream goes on, and we after it`, async (t) => {
      const place = new Place(t, from);
      await place.store();
      place.insert();
      await place.store();
      changePageSize(place.path, to);
      await place.store();
      await place.bothRestore();
      assertSameBytes(
        readFileSync(await litestreamRestore(t, place.folder, place.url)),
        checkpointedBytes(place.path),
        'what Litestream restores and the source',
      );
      place.insert();
      await place.store();
      await place.bothRestore();
      assert.doesNotMatch(await place.litestreamTurn(), /level=ERROR msg="(?!compaction failed)/);
      await place.bothRestore();
      place.insert();
      await replicateOnce(t, place.path, place.url);
      await place.bothRestore();
      changePageSize(place.path, from);
      await replicateOnce(t, place.path, place.url);
      await place.bothRestore();
    });
  }

  test('between the image and its snapshot Litestream refuses the newest state; the next start mends that', async (t) => {
    const place = new Place(t, 4096);
    await place.store();
    changePageSize(place.path, 8192);
    await place.dieBeforeSnapshot();
    assert.match(await place.litestreamRefuses(), MISMATCH);
    await place.bothRestoreTo(1);
    assert.ok((await dump(t, await restoreReplica(t, place.folder, place.url))) === (await dump(t, place.path)));
    place.insert();
    await place.store();
    assert.deepEqual(snapshotNames(place.replica), [`${txidOf(1)}-${txidOf(2)}.ltx`]);
    await place.bothRestore();
  });

  test('a Litestream that has its turn between the two cannot restore either; our next start mends that', async (t) => {
    const place = new Place(t, 4096);
    await place.store();
    changePageSize(place.path, 8192);
    await place.dieBeforeSnapshot();
    // Its own first snapshot, which would help, is put out of the way.
    await place.litestreamTurn(['snapshot: { interval: 24h }']);
    rmSync(join(place.replica, 'ltx', '9'), { recursive: true, force: true });
    assert.match(await place.litestreamRefuses(), MISMATCH);
    await replicateOnce(t, place.path, place.url);
    assert.equal(snapshotNames(place.replica).length, 1);
    // States in between are restorable by us alone.
    await place.bothRestore([1]);
  });

  for (const [which, forget] of [
    ['our local state', () => undefined],
    ['nothing but the replica', (place: Place) => rmSync(place.meta, { recursive: true })],
  ] as const) {
    test(`where Litestream stops at such a change, we go on, from ${which}`, async (t) => {
      const place = new Place(t, 4096);
      await place.litestreamTurn();
      await place.store();
      changePageSize(place.path, 1024);
      // It makes one at its start where none is of the newest TXID.
      rmSync(join(place.replica, 'ltx', '9'), { recursive: true, force: true });
      const process = await litestreamReplicate(t, place.path, place.replica);
      await process.says(/sync error.*unaligned wal offset/);
      // It holds what no level 0 file of its TXID does.
      await process.says(/snapshot complete/);
      await process.end();
      forget(place);
      place.insert();
      await replicateOnce(t, place.path, place.url);
      await place.bothRestore([]);
      await place.litestreamTurn();
      await place.bothRestore([]);
    });
  }
});
