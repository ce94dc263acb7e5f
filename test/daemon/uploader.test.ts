import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RivuletError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import { txid } from '../../src/base/types.ts';
import type { SpooledFile } from '../../src/capture/l0-writer.ts';
import { Uploader } from '../../src/daemon/uploader.ts';
import { FILE_LAYOUT } from '../../src/replica/layout.ts';
import type { FaultRule } from '../../src/store/fault/fault-rule.ts';
import { FaultStore } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { header, makeLtx, readLtx } from '../support/ltx.ts';
import { tempFolder } from '../support/temp.ts';

const NEVER = new AbortController().signal;
const LONG_MS = 60_000;
const SNAPSHOT_KEY = FILE_LAYOUT.key(9, 1n, 5n);

/** A store as some are: of two creators in the same moment, both succeed. */
class UndecidedStore extends FileStore {
  override async conditionalWrites(): Promise<boolean> {
    return false;
  }
}

/** A store that asks to be left alone for very long. */
class ShyStore extends FileStore {
  asked = 0;

  override async put(): Promise<never> {
    this.asked++;
    throw new StoreError('transient', { message: 'not now' }, { retryAfterMs: 1e12 });
  }
}

class Setup {
  readonly root: string;
  readonly spool: string;
  readonly store: FaultStore;
  readonly stored: bigint[] = [];
  readonly found: SpooledFile[] = [];
  readonly conflicts: RivuletError[] = [];
  readonly uploader: Uploader;
  begun = 0;
  /** Called for each stored file. */
  afterwards: (file: SpooledFile) => void = () => undefined;

  constructor(t: TestContext, rules: readonly FaultRule[], makeStore = (root: string) => new FileStore({ root })) {
    const folder = tempFolder(t);
    this.root = join(folder, 'replica');
    this.spool = join(folder, 'spool');
    mkdirSync(this.spool);
    this.store = new FaultStore(makeStore(this.root), { rules: [...rules] });
    this.uploader = new Uploader(
      this.store,
      FILE_LAYOUT,
      {
        begun: async () => void this.begun++,
        stored: (file) => {
          this.stored.push(file.txid);
          this.afterwards(file);
        },
        found: (file) => void this.found.push(file),
        ended: (error) => void this.conflicts.push(error),
      },
      silentLogger,
    );
    t.after(() => this.uploader.stop());
  }

  /** Puts a file of this TXID into the spool; `fill` makes its content. */
  spooled(id: number, fill = id): SpooledFile {
    const head = header({ pageSize: 512, commit: 1, minTxid: txid(id), maxTxid: txid(id) });
    const bytes = makeLtx(head, [{ pgno: 1, bytes: new Uint8Array(512).fill(fill) }]);
    const path = join(this.spool, `${id}-${fill}.ltx`);
    writeFileSync(path, bytes, { mode: 0o600 });
    const { fileChecksum } = readLtx(bytes).trailer;
    const timestampMs = head.timestampMs;
    return {
      kind: 'increment',
      txid: txid(id),
      path,
      sizeBytes: bytes.length,
      fileChecksum,
      timestampMs,
      pageCount: 1,
    };
  }

  /** The same of a kind that takes the place of everything before it. */
  image(id: number, fill = id): SpooledFile {
    return { ...this.spooled(id, fill), kind: 'image' };
  }

  get snapshots(): string[] {
    const folder = join(this.root, 'ltx', '9');
    return existsSync(folder) ? readdirSync(folder) : [];
  }

  content(id: bigint): Buffer {
    return readFileSync(join(this.root, FILE_LAYOUT.key(0, id, id)));
  }
}

describe('the uploader', () => {
  test('stores a file that comes in just when the last one is done', async (t) => {
    for (let turns = 0; turns < 6; turns++) {
      const setup = new Setup(t, []);
      const second = setup.spooled(2);
      setup.afterwards = async ({ txid }): Promise<void> => {
        if (txid !== 1n) return;
        for (let turn = 0; turn < turns; turn++) await undefined;
        setup.uploader.enqueue(second);
      };
      setup.uploader.enqueue(setup.spooled(1));
      while (setup.stored.length === 0) await nextTurn();
      await nextTurn();
      assert.equal(await setup.uploader.drain(LONG_MS, 10, NEVER), true, `after ${turns} turns`);
      assert.deepEqual(setup.stored, [1n, 2n]);
    }
  });

  test('stores files in order, and says when the first one is there', async (t) => {
    const setup = new Setup(t, []);
    const files = [1, 2, 3, 4].map((id) => setup.spooled(id));
    for (const file of files) setup.uploader.enqueue(file);
    assert.equal(await setup.uploader.drain(LONG_MS, 10, NEVER), true);
    assert.deepEqual(setup.stored, [1n, 2n, 3n, 4n]);
    assert.equal(setup.begun, 1);
    for (const file of files) assert.deepEqual(setup.content(file.txid), readFileSync(file.path));
  });

  test('tries again after failures, whether or not the file had been stored, and never out of order', async (t) => {
    const setup = new Setup(t, [
      { verb: 'put', kind: 'error-before', times: 3, probability: 0.7 },
      { verb: 'put', kind: 'error-after', times: 3, probability: 0.7 },
    ]);
    for (let id = 1; id <= 6; id++) setup.uploader.enqueue(setup.spooled(id));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.deepEqual(setup.stored, [1n, 2n, 3n, 4n, 5n, 6n]);
    assert.deepEqual(setup.conflicts, []);
  });

  test('takes a file that is there already for its own only if it is the same', async (t) => {
    const setup = new Setup(t, []);
    const theirs = setup.spooled(2, 99);
    await setup.store.put(FILE_LAYOUT.key(0, 2n, 2n), { file: theirs.path, sizeBytes: theirs.sizeBytes });
    setup.uploader.enqueue(setup.spooled(1));
    setup.uploader.enqueue(setup.spooled(2));
    setup.uploader.enqueue(setup.spooled(3));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.deepEqual(setup.stored, [1n]);
    assert.equal(setup.conflicts[0]?.code, 'REPLICA_CONFLICT');
    assert.deepEqual(setup.content(2n), readFileSync(theirs.path), 'nothing was overwritten');
    assert.deepEqual(
      setup.uploader.waiting.map((file) => file.txid),
      [2n, 3n],
    );
  });

  test('stores an image and then its snapshot before it says so; a lost snapshot alone is tried again', async (t) => {
    const setup = new Setup(t, [
      { verb: 'put', key: /^ltx\/9\//, kind: 'error-before', times: 2 },
      { verb: 'put', key: /^ltx\/9\//, kind: 'error-after', times: 1 },
    ]);
    const putKeys: string[] = [];
    const put = setup.store.put.bind(setup.store);
    setup.store.put = (key, ...rest) => {
      putKeys.push(key);
      if (key.startsWith('ltx/9/')) assert.deepEqual(setup.stored, [4n]);
      return put(key, ...rest);
    };
    for (const file of [setup.spooled(4), setup.image(5), setup.spooled(6)]) setup.uploader.enqueue(file);
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.deepEqual(setup.stored, [4n, 5n, 6n]);
    const [four, five, six, snapshot] = [4n, 5n, 6n].map((id) => FILE_LAYOUT.key(0, id, id)).concat(SNAPSHOT_KEY);
    assert.deepEqual(putKeys, [four, five, snapshot, snapshot, snapshot, snapshot, six]);
    const { header: head, pages } = readLtx(readFileSync(join(setup.root, SNAPSHOT_KEY)));
    assert.deepEqual([head.minTxid, head.maxTxid], [1n, 5n]);
    assert.deepEqual(pages, readLtx(setup.content(5n)).pages);
    assert.deepEqual(readdirSync(join(setup.spool, '..')).sort(), ['replica', 'spool']);
  });

  test('an image whose TXID another writer took, before or after us, gets no snapshot', async (t) => {
    const first = new Setup(t, []);
    const theirs = first.image(5, 99);
    await first.store.put(FILE_LAYOUT.key(0, 5n, 5n), { file: theirs.path, sizeBytes: theirs.sizeBytes });
    first.uploader.enqueue(first.image(5));
    assert.equal(await first.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.equal(first.conflicts[0]?.code, 'REPLICA_CONFLICT');
    assert.deepEqual(first.snapshots, []);

    const late = new Setup(t, [], (root) => new UndecidedStore({ root }));
    const put = late.store.put.bind(late.store);
    late.store.put = async (key, ...rest) => {
      const info = await put(key, ...rest);
      const other = late.image(5, 99);
      await put(FILE_LAYOUT.key(0, 5n, 5n), { file: other.path, sizeBytes: other.sizeBytes });
      return info;
    };
    late.uploader.enqueue(late.image(5));
    assert.equal(await late.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.equal(late.conflicts[0]?.code, 'REPLICA_CONFLICT');
    assert.deepEqual(late.snapshots, []);
  });

  test('an image that was changed in the spool becomes no snapshot', async (t) => {
    const setup = new Setup(t, []);
    const file = setup.image(5);
    const bytes = readFileSync(file.path);
    const spoiled = Buffer.from(bytes);
    spoiled.writeUInt8(spoiled.readUInt8(120) ^ 1, 120);
    writeFileSync(file.path, spoiled);
    setup.uploader.enqueue(file);
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.equal(setup.conflicts[0]?.code, 'SPOOL_LOST');
    assert.deepEqual([setup.stored, setup.snapshots], [[], []]);
  });

  test('a drain without patience makes one try, one that is given up ends at once', async (t) => {
    const setup = new Setup(t, [{ verb: 'put', kind: 'full' }]);
    setup.uploader.enqueue(setup.spooled(1));
    assert.equal(await setup.uploader.drain(0, 5, NEVER), false);
    assert.equal(await setup.uploader.drain(LONG_MS, 5, AbortSignal.abort()), false);
    assert.ok(setup.uploader.lastError);
    setup.store.setRules([]);
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.equal(setup.uploader.lastError, undefined);
    assert.deepEqual(setup.stored, [1n]);
  });

  test('a request that hangs does not keep a shutdown', async (t) => {
    const setup = new Setup(t, [{ verb: 'put', kind: 'hang' }]);
    setup.uploader.enqueue(setup.spooled(1));
    assert.equal(await setup.uploader.drain(50, 5, NEVER), false);
    setup.uploader.stop();
    assert.deepEqual(setup.stored, []);
    assert.equal(setup.uploader.waiting.length, 1);
  });

  test('forgets what is given up, the try under way included', async (t) => {
    const setup = new Setup(t, [{ verb: 'put', kind: 'hang' }]);
    for (const id of [1, 2, 3]) setup.uploader.enqueue(setup.spooled(id));
    setup.uploader.giveUp();
    assert.deepEqual(setup.uploader.waiting, []);
    setup.store.setRules([]);
    const next = setup.spooled(1, 9);
    setup.uploader.enqueue(next);
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.deepEqual([setup.stored, setup.found, setup.uploader.failures], [[1n], [], 0]);
    assert.deepEqual(setup.content(1n), readFileSync(next.path));
  });

  test('finds a file that was given up and stored all the same; what took its place is given up, too', async (t) => {
    const setup = new Setup(t, [{ verb: 'put', kind: 'error-after', times: 1 }]);
    const first = setup.spooled(1);
    setup.uploader.enqueue(first);
    setup.uploader.enqueue(setup.spooled(2));
    assert.equal(await setup.uploader.drain(0, 5, NEVER), false);
    setup.uploader.giveUp();
    setup.uploader.enqueue(setup.spooled(1, 9));
    setup.uploader.enqueue(setup.spooled(2, 9));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.deepEqual([setup.stored, setup.found, setup.conflicts, setup.begun], [[], [first], [], 1]);
    assert.deepEqual(setup.content(1n), readFileSync(first.path));
    setup.uploader.enqueue(setup.spooled(2, 17));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    assert.deepEqual(setup.stored, [2n]);
  });

  test('a file of somebody else is no file that was given up', async (t) => {
    const setup = new Setup(t, [{ verb: 'put', kind: 'error-before', times: 1 }]);
    setup.uploader.enqueue(setup.spooled(1));
    assert.equal(await setup.uploader.drain(0, 5, NEVER), false);
    setup.uploader.giveUp();
    const theirs = setup.spooled(1, 99);
    await setup.store.put(FILE_LAYOUT.key(0, 1n, 1n), { file: theirs.path, sizeBytes: theirs.sizeBytes });
    setup.uploader.enqueue(setup.spooled(1, 9));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.deepEqual([setup.found, setup.conflicts[0]?.code], [[], 'REPLICA_CONFLICT']);
  });

  test('what is no file of ours is not taken for one, whatever it is', async (t) => {
    const setup = new Setup(t, []);
    await setup.store.put(FILE_LAYOUT.key(0, 1n, 1n), { bytes: Buffer.alloc(setup.spooled(1).sizeBytes, 'garbage') });
    setup.uploader.enqueue(setup.spooled(1));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.equal(setup.conflicts[0]?.code, 'REPLICA_CONFLICT');
  });

  test('where the store does not decide creates, a file that was replaced by another writer ends it', async (t) => {
    const setup = new Setup(t, [], (root) => new UndecidedStore({ root }));
    setup.uploader.enqueue(setup.spooled(1));
    setup.uploader.enqueue(setup.spooled(2));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), true);
    const theirs = setup.spooled(2, 99);
    await setup.store.put(FILE_LAYOUT.key(0, 2n, 2n), { file: theirs.path, sizeBytes: theirs.sizeBytes });
    setup.uploader.enqueue(setup.spooled(3));
    assert.equal(await setup.uploader.drain(LONG_MS, 5, NEVER), false);
    assert.deepEqual(setup.stored, [1n, 2n]);
    assert.equal(setup.conflicts[0]?.code, 'REPLICA_CONFLICT');
  });

  test('a store that asks to be left alone for years is asked again after two minutes', async (t) => {
    const shy = new ShyStore({ root: tempFolder(t) });
    const setup = new Setup(t, [], () => shy);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    setup.uploader.enqueue(setup.spooled(1));
    const minutesUntil = async (asked: number): Promise<number> => {
      for (let minutes = 0; ; minutes++) {
        for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
        if (shy.asked >= asked) return minutes;
        t.mock.timers.tick(60_000);
      }
    };
    assert.equal(await minutesUntil(1), 0);
    assert.equal(await minutesUntil(2), 2);
    assert.equal(await minutesUntil(3), 2);
  });
});
