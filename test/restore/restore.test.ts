import assert from 'node:assert/strict';
import nodeFs, * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { hasCode, RivuletError } from '../../src/base/errors.ts';
import type { LogFields, Logger, LogLevel } from '../../src/base/log.ts';
import { txid } from '../../src/base/types.ts';
import { locateIndex } from '../../src/ltx/page-index.ts';
import { loadLocalState, metaPathFor, spoolPathFor } from '../../src/replica/local-state.ts';
import { Replica } from '../../src/replica/replica.ts';
import { MAX_PLANS, type RestoreOptions, type RestoreResult, restoreDatabase } from '../../src/restore/restore.ts';
import { StagedDatabase } from '../../src/restore/staged-database.ts';
import { FaultStore } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { StoreError } from '../../src/store/store.ts';
import type { RetryNotice } from '../../src/store/wrap/retry-policy.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { header, makeLtx } from '../support/ltx.ts';
import { tempFolder } from '../support/temp.ts';
import { databaseChecksum, History, MemoryStore, pageOf, sqliteHistory } from './history.ts';

const PAGE_SIZE = 4096;

/** A history of `count` states: a first image of `pages` pages, of which each next transaction changes a few. */
function historyOf(count: number, pages: number, withSums = true): History {
  const current = Array.from({ length: pages }, (_, i) => pageOf(PAGE_SIZE, `first ${i}`));
  const states = [Buffer.concat(current)];
  for (let id = 2; id <= count; id++) {
    for (const i of [0, id, (id * 37) % pages]) current[i % pages] = pageOf(PAGE_SIZE, `${id} ${i}`);
    states.push(Buffer.concat(current));
  }
  return new History(PAGE_SIZE, states, { withSums });
}

interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A store with a level 0 chain, a folder to restore to, and a log. */
function setUp(t: TestContext, history: History) {
  const store = new MemoryStore();
  for (let id = 1; id <= history.states.length; id++) store.addFile(history, 0, id, id);
  const path = join(tempFolder(t), 'data/app.db');
  const lines: LogLine[] = [];
  const logger: Logger = {
    log: (level, message, fields = {}) => void lines.push({ level, message, fields }),
    with: () => logger,
  };
  const restore = (options: Partial<RestoreOptions> = {}): Promise<RestoreResult> =>
    restoreDatabase(new Replica(store), { outputPath: path, logger, ...options });
  /** Nothing of a failed restore is left, except perhaps its folder. */
  const assertNothingLeft = (): void => {
    assert.deepEqual(fs.existsSync(dirname(path)) ? fs.readdirSync(dirname(path)) : [], []);
  };
  return { store, path, lines, restore, assertNothingLeft };
}

const keyOf = (min: number, max = min, level = 0): string =>
  `ltx/${level}/${min.toString(16).padStart(16, '0')}-${max.toString(16).padStart(16, '0')}.ltx`;

describe('restore reads', () => {
  test('only the newest versions of pages, when a database checksum can prove the result', async (t) => {
    const pages = 2000;
    const first = Buffer.concat(Array.from({ length: pages }, (_, i) => pageOf(PAGE_SIZE, `old ${i}`)));
    // Everything but 100 pages in a row is newer in the second file.
    const second = Buffer.concat(
      Array.from({ length: pages }, (_, i) =>
        i >= 900 && i < 1000 ? pageOf(PAGE_SIZE, `old ${i}`) : pageOf(PAGE_SIZE, `${i}`),
      ),
    );
    const { store, path, restore } = setUp(t, new History(PAGE_SIZE, [first, second]));
    const result = await restore();
    assert.ok(fs.readFileSync(path).equals(second));
    assert.equal(result.proof, 'database-checksum');
    const [oldBytes = 0, newBytes = 0] = [...store.objects.values()].map((bytes) => bytes.length);
    const indexBytes = 2 * 64 * 1024;
    assert.ok(result.fetchedBytes > newBytes);
    assert.ok(
      result.fetchedBytes < newBytes + oldBytes / 10 + indexBytes,
      `${result.fetchedBytes} of ${oldBytes + newBytes}`,
    );
  });

  test('every file whole, and proves each, when there is no database checksum', async (t) => {
    const history = historyOf(12, 300, false);
    const { store, path, restore } = setUp(t, history);
    const result = await restore();
    assert.ok(fs.readFileSync(path).equals(history.state(12)));
    assert.equal(result.proof, 'file-checksums');
    const stored = [...store.objects.values()].reduce((sum, bytes) => sum + bytes.length, 0);
    assert.ok(result.fetchedBytes >= stored);
  });

  test('small files in one request each, pages and all', async (t) => {
    const { store, restore } = setUp(t, historyOf(30, 20));
    await restore();
    assert.equal(store.opens, 30 + 1, 'the files, and the identity');
  });

  test('with the parallelism that is asked for, in bounded memory, and says how far it is', async (t) => {
    const history = historyOf(3, 3000);
    const { path, store, restore } = setUp(t, history);
    for (const parallelism of [0, 1, 3, 1000]) {
      let under = 0;
      let most = 0;
      store.onOpen = async () => {
        most = Math.max(most, ++under);
        await new Promise((resolve) => setTimeout(resolve, 1));
        under--;
      };
      const seen: string[] = [];
      let last = 0;
      const result = await restore({
        parallelism,
        force: true,
        integrityCheck: 'none',
        onProgress: ({ phase, doneBytes, totalBytes }) => {
          if (seen.at(-1) !== phase) seen.push(phase);
          else assert.ok(doneBytes > last);
          last = doneBytes;
          assert.ok(doneBytes <= totalBytes);
        },
      });
      assert.deepEqual(seen, ['fetch', 'verify']);
      assert.equal(last, result.sizeBytes);
      assert.ok(most <= Math.max(2, 2 * parallelism), `${most} at a time`); // header and tail of a file go together
      assert.ok(fs.readFileSync(path).equals(history.state(3)));
    }
  });
});

describe('restore in windows of pages', () => {
  test('gives the same database, from indexes that are longer than what comes with a file', async (t) => {
    const pages = 30_000;
    const current = Array.from({ length: pages }, (_, i) => pageOf(512, `first ${i}`));
    const states = [Buffer.concat(current)];
    for (let id = 2; id <= 5; id++) {
      // One large file that covers every other page, and small ones that lie in one window or in two.
      const changed =
        id === 3 ? Array.from({ length: pages / 2 }, (_, i) => 2 * i) : [id * 900, 1999, 2000, pages - id];
      for (const i of changed) current[i] = pageOf(512, `${id} ${i}`);
      states.push(Buffer.concat(current));
    }
    const history = new History(512, states);
    const { path, store, restore } = setUp(t, history);
    const opens: number[] = [];
    for (const windowPages of [undefined, 29_999, 7000, 2000]) {
      store.opens = 0;
      const result = await restore({ windowPages, force: true });
      assert.equal(result.proof, 'database-checksum');
      assert.ok(fs.readFileSync(path).equals(history.state(5)));
      opens.push(store.opens);
    }
    // In one window every file is asked for its header, its end, and what the end left out of the index.
    assert.ok((opens[0] ?? 0) < 30 && (opens[3] ?? 0) > 2 * 15, `${opens} requests`);
  });

  test('finds what is missing or damaged in a later window', async (t) => {
    const history = historyOf(2, 3000);
    const { store, restore, assertNothingLeft } = setUp(t, history);
    const key = keyOf(1);
    const bytes = Buffer.from(store.objects.get(key) ?? '');
    const { offset, size } = locateIndex(bytes, bytes.length);
    for (const at of [offset + 5, offset + Math.floor(size / 2), offset + size - 3, offset + size - 1]) {
      const bad = Buffer.from(bytes);
      bad[at] = (bad[at] ?? 0) ^ 0x21;
      store.objects.set(key, bad);
      await assert.rejects(restore({ windowPages: 100 }), { code: 'REPLICA_FILE_DAMAGED' });
      assertNothingLeft();
    }
  });
});

describe('restore survives', () => {
  test('transient failures and answers that are cut off', async (t) => {
    for (const withSums of [true, false]) {
      const history = historyOf(5, 400, withSums);
      const { store: stored, path } = setUp(t, history);
      const root = tempFolder(t);
      const files = new FileStore({ root });
      for (const [key, bytes] of stored.objects) await files.put(key, { bytes });
      const faults = new FaultStore(files, {
        rules: [
          { verb: 'list', kind: 'error-before', times: 2 },
          { verb: 'open', kind: 'error-before', probability: 0.2, times: 6 },
          { verb: 'open', kind: 'cut', afterBytes: 7000, probability: 0.3, times: 6 },
        ],
        seed: 7,
      });
      const retries: RetryNotice[] = [];
      const store = new RetryingStore(faults, { firstPauseMs: 1, onRetry: (retry) => void retries.push(retry) });
      await restoreDatabase(new Replica(store), { outputPath: path });
      assert.ok(fs.readFileSync(path).equals(history.state(5)));
      assert.ok(retries.length >= 3);
    }
  });

  test('readers that end before their range does, by going on where they ended', async (t) => {
    const history = historyOf(2, 500);
    const { store, path, restore } = setUp(t, history);
    const open = store.open.bind(store);
    let cut = 0;
    store.open = async (key, options = {}) => {
      const length = options.length ?? 0;
      return length > 200_000 && cut++ < 3 ? open(key, { ...options, length: 100_000 }) : open(key, options);
    };
    await restore();
    assert.ok(cut >= 3);
    assert.ok(fs.readFileSync(path).equals(history.state(2)));
  });

  test('a planned file that is gone: it plans again with what is there now', async (t) => {
    const history = historyOf(6, 50);
    const { store, path, lines, restore } = setUp(t, history);
    // While the first plan runs, files 2 to 5 are merged and removed.
    store.onOpen = (key) => {
      if (key !== keyOf(3) || !store.objects.has(key)) return;
      store.addFile(history, 1, 2, 5);
      for (let id = 2; id <= 5; id++) store.objects.delete(keyOf(id));
    };
    const result = await restore();
    assert.deepEqual(
      result.files.map((file) => file.key),
      [keyOf(1), keyOf(2, 5, 1), keyOf(6)],
    );
    assert.ok(fs.readFileSync(path).equals(history.state(6)));
    assert.ok(lines.some((line) => line.message === 'a planned file is gone, planning again'));
  });

  test('a listing that saw a file move between two levels', async (t) => {
    const history = historyOf(4, 20);
    const { store, path, restore } = setUp(t, history);
    let listings = 0;
    store.onList = (prefix) => {
      // The first listing sees neither the merged file nor its sources, as that of a store that is slow to show what is new.
      if (prefix === 'ltx/' && ++listings === 2) store.addFile(history, 1, 2, 3);
      for (const id of [2, 3]) store.objects.delete(keyOf(id));
    };
    await restore();
    assert.equal(listings, 2);
    assert.ok(fs.readFileSync(path).equals(history.state(4)));
  });
});

describe('restore fails', () => {
  test('when the replica is empty, and does not even make a folder', async (t) => {
    const { store, path, restore } = setUp(t, historyOf(1, 1));
    store.objects.clear();
    await assert.rejects(restore(), { code: 'REPLICA_EMPTY' });
    assert.equal(fs.existsSync(dirname(path)), false);
  });

  test('when it holds what Litestream 0.3 stored: that is no empty replica', async (t) => {
    const { store, path, restore } = setUp(t, historyOf(1, 1));
    store.objects.clear();
    const key = 'generations/0123456789abcdef/snapshots/00000000.snapshot.lz4';
    store.objects.set(key, Buffer.alloc(1));
    await assert.rejects(restore(), {
      code: 'NOT_BUILT',
      message: /Litestream 0\.3/,
      next: /restore it with Litestream/,
    });
    assert.equal(fs.existsSync(dirname(path)), false);
  });

  test('when a listed file is never there, after a bounded number of plans', async (t) => {
    const { store, restore, assertNothingLeft } = setUp(t, historyOf(3, 10));
    let missed = 0;
    store.onOpen = (key) => {
      if (key !== keyOf(2)) return;
      missed++;
      throw new StoreError('not-found', { message: `${key} is not there` });
    };
    await assert.rejects(restore(), { code: 'REPLICA_FILE_MISSING', kept: 'nothing was changed' });
    assert.equal(missed, MAX_PLANS);
    assertNothingLeft();
  });

  test('at once when the store denies access, and keeps what was there', async (t) => {
    const { store, path, restore } = setUp(t, historyOf(3, 10));
    fs.mkdirSync(dirname(path));
    fs.writeFileSync(path, 'old');
    const asked: string[] = [];
    store.onOpen = (key) => {
      asked.push(key);
      throw new StoreError('denied', { message: 'no access' });
    };
    await assert.rejects(restore({ force: true }), { code: 'STORE_DENIED' });
    assert.equal(asked.length, new Set(asked).size, 'nothing is asked for twice');
    assert.deepEqual(fs.readdirSync(dirname(path)), ['app.db']);
    assert.equal(fs.readFileSync(path, 'utf8'), 'old');
  });

  test('for a damaged file with its key, what is wrong, and the TXIDs that do without it', async (t) => {
    for (const withSums of [true, false]) {
      const history = historyOf(9, 40, withSums);
      const { store, restore, assertNothingLeft } = setUp(t, history);
      store.addFile(history, 9, 1, 7);
      const damaged = Buffer.from(store.objects.get(keyOf(8)) ?? '');
      damaged.fill(0xff, 120, damaged.length - 200);
      store.objects.set(keyOf(8), damaged);
      await assert.rejects(restore(), (error) => {
        assert.ok(error instanceof RivuletError);
        assert.equal(error.code, 'REPLICA_FILE_DAMAGED');
        assert.match(error.message, new RegExp(`^memory://replica/${keyOf(8)}: damaged LTX file: `));
        assert.equal(error.kept, 'nothing was changed');
        assert.equal(error.next, 'restore a state that does not need this file: -txid 0000000000000007');
        return true;
      });
      assertNothingLeft();
      await restore({ txid: 7n });
    }
  });

  test('for damage that only a checksum shows: the file is found, though only its pages had been read', async (t) => {
    const history = historyOf(3, 40);
    const { store, restore, assertNothingLeft } = setUp(t, history);
    const key = keyOf(2);
    const file = store.objects.get(key) ?? Buffer.alloc(0);
    // A literal of a compressed page: still a page, but another one.
    const spoiled = Buffer.from(file);
    spoiled[200] = (spoiled[200] ?? 0) ^ 1;
    store.objects.set(key, spoiled);
    await assert.rejects(
      restore({ txid: 2n }),
      (error) => hasCode(error, 'REPLICA_FILE_DAMAGED') && String(error).includes(key),
    );
    assertNothingLeft();
  });

  test('when whole files do not make the database that the last one states: two writers', async (t) => {
    const history = historyOf(3, 40);
    const other = new History(
      PAGE_SIZE,
      [pageOf(PAGE_SIZE, 'a'), pageOf(PAGE_SIZE, 'b')].map((page) => Buffer.concat([page, ...Array(39).fill(page)])),
    );
    const { store, restore, assertNothingLeft } = setUp(t, history);
    store.objects.set(keyOf(2), other.file(2, 2));
    await assert.rejects(restore(), { code: 'DATABASE_CHECKSUM_MISMATCH', kept: 'nothing was changed' });
    assertNothingLeft();
  });

  test('when the disk fills up while it writes, and removes what it wrote', async (t) => {
    const { path, restore } = setUp(t, historyOf(2, 1000));
    fs.mkdirSync(dirname(path));
    fs.writeFileSync(path, 'old');
    const { writeSync } = nodeFs;
    t.after(() => {
      Object.assign(nodeFs, { writeSync });
      syncBuiltinESMExports();
    });
    let writes = 0;
    const failing = (...args: Parameters<typeof writeSync>): number => {
      if (++writes > 2)
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall: 'write' });
      return writeSync(...args);
    };
    Object.assign(nodeFs, { writeSync: failing });
    syncBuiltinESMExports();
    await assert.rejects(restore({ force: true }), {
      code: 'DISK_FULL',
      kept: `nothing was changed: ${path} is as it was`,
    });
    assert.deepEqual(fs.readdirSync(dirname(path)), ['app.db']);
    assert.equal(fs.readFileSync(path, 'utf8'), 'old');
  });

  test('when pages are in no file', async (t) => {
    for (const withSums of [true, false]) {
      const history = historyOf(2, 10, withSums);
      const { store, restore, assertNothingLeft } = setUp(t, history);
      const grown = Buffer.concat([history.state(2), ...Array(4).fill(pageOf(PAGE_SIZE, 'new'))]);
      const head = header({
        pageSize: PAGE_SIZE,
        commit: 14,
        minTxid: txid(3),
        maxTxid: txid(3),
        databaseChecksum: withSums ? databaseChecksum(grown, PAGE_SIZE) : undefined,
      } as Parameters<typeof header>[0]); // undefined falls back to the default
      store.objects.set(
        keyOf(3),
        makeLtx({ ...head, databaseChecksum: head.databaseChecksum ?? 0n }, [
          { pgno: 12, bytes: pageOf(PAGE_SIZE, 'new') },
        ]),
      );
      await assert.rejects(restore(), { code: 'PAGES_MISSING', message: /^page 11, 13, 14: in none of the 3 files$/ });
      assertNothingLeft();
    }
  });

  test('when files have pages of two sizes, naming both', async (t) => {
    for (const withSums of [true, false]) {
      const { store, restore, assertNothingLeft } = setUp(t, historyOf(3, 10, withSums));
      const other = new History(512, [Buffer.alloc(5120), pageOf(5120, 'x')], { withSums });
      store.objects.set(keyOf(2), other.file(2, 2));
      await assert.rejects(restore(), {
        code: 'PAGE_SIZE_MISMATCH',
        message: `${keyOf(2)} has pages of 512 bytes and ${keyOf(3)} of 4096: they are not of one database`,
      });
      assertNothingLeft();
    }
  });

  test('for a header that claims more pages than its files could hold, before it takes memory for them', async (t) => {
    const { store, restore, assertNothingLeft } = setUp(t, historyOf(2, 10));
    const head = header({ pageSize: 65_536, commit: 0xffff_fff0, minTxid: txid(2), maxTxid: txid(2) });
    store.objects.set(keyOf(2), makeLtx(head, []));
    await assert.rejects(restore(), {
      code: 'REPLICA_FILE_DAMAGED',
      message: /commit: 4294967280 pages cannot come from/,
    });
    assertNothingLeft();
  });

  test('for a file under the name of another, an empty one, and one that is no LTX file', async (t) => {
    const history = historyOf(3, 10);
    for (const [bytes, what] of [
      [history.file(3, 3), /TXID: it holds 0000000000000003 to 0000000000000003/],
      [Buffer.alloc(0), /0 bytes are too few/],
      [Buffer.alloc(5000, 'x'), /not "LTX1"/],
    ] as const) {
      const { store, restore, assertNothingLeft } = setUp(t, history);
      store.objects.set(keyOf(2), bytes);
      await assert.rejects(restore(), { code: 'REPLICA_FILE_DAMAGED', message: what });
      assertNothingLeft();
    }
  });

  test('with the reason of its signal, whenever that is aborted, and leaves nothing', async (t) => {
    const history = historyOf(4, 2000);
    for (let abortAt = 0; abortAt < 12; abortAt++) {
      const { store, path, restore, assertNothingLeft } = setUp(t, history);
      const controller = new AbortController();
      let opens = 0;
      const reason = new Error('stopped by a person');
      store.onOpen = () => {
        if (opens++ === abortAt) controller.abort(reason);
      };
      const outcome = await restore({ signal: controller.signal }).then(
        () => 'restored',
        (error: unknown) => error,
      );
      if (outcome === 'restored') assert.ok(fs.readFileSync(path).equals(history.state(4)));
      else {
        assert.equal(outcome, reason);
        assertNothingLeft();
      }
    }
    const { restore, assertNothingLeft } = setUp(t, history);
    const controller = new AbortController();
    const onProgress: RestoreOptions['onProgress'] = ({ phase, doneBytes }) => {
      if (phase === 'verify' && doneBytes > 0) controller.abort();
    };
    await assert.rejects(restore({ signal: controller.signal, onProgress }), { name: 'AbortError' });
    assertNothingLeft();
  });

  test('while a store hangs, as soon as its signal is aborted', async (t) => {
    const { store, restore, assertNothingLeft } = setUp(t, historyOf(2, 10));
    store.onOpen = (_key, { signal }) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    await assert.rejects(restore({ signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' });
    assertNothingLeft();
  });
});

describe('the integrity check', () => {
  test('passes a database in WAL mode, makes no sidecars and changes no byte', async (t) => {
    const history = sqliteHistory(tempFolder(t), ['CREATE TABLE item (name TEXT)', "INSERT INTO item VALUES ('x')"]);
    for (const integrityCheck of ['quick', 'full'] as const) {
      const { path, restore } = setUp(t, history);
      const phases = new Set<string>();
      await restore({ integrityCheck, onProgress: ({ phase }) => void phases.add(phase) });
      assert.ok(fs.readFileSync(path).equals(history.state(2)));
      assert.deepEqual(fs.readdirSync(dirname(path)).sort(), [basename(metaPathFor(path)), 'app.db']);
      assert.deepEqual([...phases], ['fetch', 'verify', 'check']);
    }
  });

  test('refuses a broken database, though it is exactly what the replica holds', async (t) => {
    const history = sqliteHistory(tempFolder(t), [
      'CREATE TABLE item (name TEXT); CREATE INDEX item_name ON item (name)',
      'WITH n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500) INSERT INTO item SELECT hex(randomblob(40)) FROM n',
    ]);
    const broken = Buffer.from(history.state(2));
    broken.fill(0xaa, PAGE_SIZE * 3, PAGE_SIZE * 3 + 200);
    const { path, restore } = setUp(t, new History(PAGE_SIZE, [broken]));
    fs.mkdirSync(dirname(path));
    fs.writeFileSync(path, 'old');
    for (const integrityCheck of ['quick', 'full'] as const) {
      await assert.rejects(restore({ integrityCheck, force: true }), { code: 'INTEGRITY_CHECK_FAILED' });
      assert.deepEqual(fs.readdirSync(dirname(path)), ['app.db']);
      assert.equal(fs.readFileSync(path, 'utf8'), 'old');
    }
    await restore({ force: true });
    assert.ok(fs.readFileSync(path).equals(broken));
  });

  test('refuses what is no database at all, and can be stopped', async (t) => {
    const { restore, assertNothingLeft } = setUp(t, historyOf(1, 20));
    await assert.rejects(restore({ integrityCheck: 'quick' }), {
      code: 'INTEGRITY_CHECK_FAILED',
      message: /file is not a database/,
    });
    const controller = new AbortController();
    const onProgress: RestoreOptions['onProgress'] = ({ phase }) => {
      if (phase === 'check') setTimeout(() => controller.abort(), 5);
    };
    await assert.rejects(restore({ integrityCheck: 'full', signal: controller.signal, onProgress }), {
      name: 'AbortError',
    });
    assertNothingLeft();
  });
});

describe('a restored database', () => {
  test('of no pages is a file of no bytes', async (t) => {
    for (const withSums of [true, false]) {
      const history = new History(PAGE_SIZE, [pageOf(PAGE_SIZE, 'a'), Buffer.alloc(0)], { withSums });
      const { path, restore } = setUp(t, history);
      const result = await restore();
      assert.deepEqual([result.pageCount, result.sizeBytes, fs.statSync(path).size], [0, 0, 0]);
    }
  });

  test('comes with what replication needs to carry on: TXID, checksum of the newest file, lineage, page hashes', async (t) => {
    const history = historyOf(4, 30);
    const { store, path, restore } = setUp(t, history);
    store.objects.set('rivulet.json', Buffer.from('{"format":1,"lineage":"abc"}'));
    const meta = metaPathFor(path);
    fs.mkdirSync(spoolPathFor(meta), { recursive: true });
    fs.writeFileSync(join(spoolPathFor(meta), 'of-an-earlier-database'), '');
    await restore();
    const newest = loadLocalState(meta);
    assert.equal(newest?.position.txid, 4n);
    assert.equal(newest.position.fileChecksum, history.file(4, 4).subarray(-8).readBigUInt64BE());
    assert.equal(newest.position.lineage, 'abc');
    assert.equal(newest.position.replicaUrl, store.url);
    assert.equal(newest.position.wal, undefined);
    assert.equal(newest.hashes.databaseChecksum, databaseChecksum(history.state(4), PAGE_SIZE));
    assert.equal(fs.existsSync(spoolPathFor(meta)), false);

    await restore({ txid: 2n, force: true, metaPath: join(tempFolder(t), 'elsewhere') });
    assert.equal(loadLocalState(meta)?.position.txid, 4n);
    await restore({ txid: 2n, force: true });
    assert.deepEqual([loadLocalState(meta)?.position.txid, loadLocalState(meta)?.position.fileChecksum], [2n, 0n]);
  });

  test('is there also when that cannot be saved: a warning, no failure', async (t) => {
    const history = historyOf(2, 10);
    const { path, lines, restore } = setUp(t, history);
    const metaPath = join(tempFolder(t), 'file');
    fs.writeFileSync(metaPath, '');
    await restore({ metaPath });
    assert.ok(fs.readFileSync(path).equals(history.state(2)));
    assert.ok(lines.some((line) => line.level === 'warn' && /will compare/.test(line.message)));
  });

  test('opens, with its rows, in SQLite', async (t) => {
    const history = sqliteHistory(
      tempFolder(t),
      ['CREATE TABLE item (name TEXT)', "INSERT INTO item VALUES ('x')"],
      65_536,
    );
    const { path, restore } = setUp(t, history);
    await restore();
    const database = new DatabaseSync(path);
    assert.deepEqual(
      database
        .prepare('SELECT name FROM item')
        .all()
        .map((row) => row.name),
      ['x'],
    );
    database.close();
  });
});

for (const withSums of [true, false]) {
  test(`a disk that does not give back what was written is found out (${withSums ? 'our' : "Litestream's"} files)`, async (t) => {
    const history = historyOf(3, 40, withSums);
    const { restore, assertNothingLeft } = setUp(t, history);
    const { place, placeInBackground } = StagedDatabase.prototype;
    t.after(() => Object.assign(StagedDatabase.prototype, { place, placeInBackground }));
    const spoil = ({ fd }: StagedDatabase): void => void fs.writeSync(fd, Buffer.from('x'), 0, 1, 5 * PAGE_SIZE + 7);
    StagedDatabase.prototype.place = function (this: StagedDatabase, ...rest) {
      place.apply(this, rest);
      spoil(this);
    };
    StagedDatabase.prototype.placeInBackground = async function (this: StagedDatabase, ...rest) {
      await placeInBackground.apply(this, rest);
      spoil(this);
    };
    await assert.rejects(restore(), { code: 'READ_BACK_DIFFERS' });
    assertNothingLeft();
  });
}
