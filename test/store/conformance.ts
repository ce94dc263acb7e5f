import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { forEachLimited } from '../../src/base/async.ts';
import {
  isStoreError,
  type ListOptions,
  type ObjectInfo,
  type ReadableStore,
  readInto,
  readObject,
  type Store,
} from '../../src/store/store.ts';

/** What a store can do beyond the contract's least. A test of what it cannot do is skipped, and says so. */
export interface Supports {
  /** `ifAbsent` is decided by the store, so of several creators exactly one wins. */
  readonly ifAbsent: boolean;
  /** `timestampMs` comes back as `modifiedMs`. */
  readonly timestamps: boolean;
  /** An object that is replaced again and again can be read at any moment; default: yes. */
  readonly replacesInOneStep?: boolean;
}

/** An empty store for one test. */
export interface Subject {
  readonly store: Store;
  readonly supports: Supports;
  cleanup(): Promise<void>;
}

const PARALLEL_REQUESTS = 16;
const LARGE_BYTES = 20 << 20;
const LARGE_LISTING_OBJECTS = 2500;

type Check = (store: Store, t: TestContext) => Promise<void>;

/** Runs everything that the store contract says against stores that `create` makes, a new and empty one for each test. */
export function conformance(name: string, create: () => Promise<Subject>): void {
  const check = (sentence: string, needs: readonly (keyof Supports)[], work: Check): void => {
    test(sentence, async (t) => {
      const { store, supports, cleanup } = await create();
      try {
        const missing = needs.filter((need) => !(supports[need] ?? true));
        if (missing.length > 0) t.skip(`this store does not support ${missing.join(', ')}`);
        else await work(store, t);
      } finally {
        await store.close();
        await cleanup();
      }
    });
  };
  describe(name, () => {
    for (const [sentence, work] of Object.entries(basics)) check(sentence, [], work);
    for (const [sentence, work] of Object.entries(putting)) check(sentence, [], work);
    for (const [sentence, work] of Object.entries(racing)) check(sentence, ['replacesInOneStep'], work);
    for (const [sentence, work] of Object.entries(conditional)) check(sentence, ['ifAbsent'], work);
    for (const [sentence, work] of Object.entries(timestamps)) check(sentence, ['timestamps'], work);
    for (const [sentence, work] of Object.entries(ranges)) check(sentence, [], work);
    for (const [sentence, work] of Object.entries(listing)) check(sentence, [], work);
    for (const [sentence, work] of Object.entries(deleting)) check(sentence, [], work);
    for (const [sentence, work] of Object.entries(aborting)) check(sentence, [], work);
  });
}

const basics: Record<string, Check> = {
  'names itself by a URL without a slash at its end': async (store) => {
    assert.match(new URL(store.url).href, /^[a-z0-9+]+:\/\//);
    assert.ok(!store.url.endsWith('/'));
  },
  'an object comes back as it was stored, with its size, a key and a time': async (store) => {
    const before = Date.now();
    const info = await store.put('a/object', { bytes: bytesOf('hello') });
    assert.equal(info.key, 'a/object');
    assert.equal(info.sizeBytes, 5);
    assert.ok(Math.abs(info.modifiedMs - before) < 3_600_000, `modifiedMs is ${info.modifiedMs}`);
    assert.equal(await textOf(store, 'a/object'), 'hello');
    assertSameObjects(await all(store, ''), [info]);
  },
  'opening an object that is not there fails with not-found': async (store) => {
    await store.put('folder/there', { bytes: bytesOf('x') });
    for (const key of ['nowhere', 'no/where', 'folder', 'folder/ther', 'folder/there/below']) {
      await assert.rejects(store.open(key), (error) => isStoreError(error, 'not-found'), key);
    }
  },
  'keys with spaces, dots, percent signs, quotes and other scripts are kept as they are': async (store) => {
    const keys = ['sp ace/x y', '..a/b..', '%2e%2F/100%', `q'"\`/$HOME;&|`, 'üñí/ключ/鍵/🔑', 'a+b=c?d#e', '~/*[x]{y}'];
    for (const key of keys) await store.put(key, { bytes: bytesOf(key) });
    assert.deepEqual(await keysOf(store, ''), inOrder(keys));
    for (const key of keys) assert.equal(await textOf(store, key), key);
  },
  'keys that are no names below the root are refused by every verb': async (store) => {
    const half = '\ud83d';
    for (const key of ['', '/a', 'a//b', 'a/', './a', 'a/./b', '../a', 'a/../../b', 'a/..', 'a\0b', half]) {
      const isRefused = (error: unknown): boolean => isStoreError(error, 'permanent') && error.message.includes('key');
      await assert.rejects(store.put(key, { bytes: bytesOf('x') }), isRefused, JSON.stringify(key));
      await assert.rejects(store.open(key), isRefused, JSON.stringify(key));
      const [result] = await store.delete([key]);
      assert.ok(isRefused(result?.error), JSON.stringify(key));
    }
    for (const prefix of ['/', '../', 'a//', 'a/../']) await assert.rejects(keysOf(store, prefix), prefix);
    assert.deepEqual(await keysOf(store, ''), []);
  },
  'deep keys work': async (store) => {
    const key = `${Array.from({ length: 40 }, (_, i) => `level-${i}`).join('/')}/end`;
    await store.put(key, { bytes: bytesOf('deep') });
    assert.equal(await textOf(store, key), 'deep');
    assert.deepEqual(await keysOf(store, 'level-0/level-1/'), [key]);
  },
};

const putting: Record<string, Check> = {
  'a put replaces the object that was there': async (store) => {
    await store.put('k', { bytes: bytesOf('a longer first version') });
    const info = await store.put('k', { bytes: bytesOf('second') });
    assert.equal(info.sizeBytes, 6);
    assert.equal(await textOf(store, 'k'), 'second');
    assertSameObjects(await all(store, ''), [info]);
  },
  'an object of no bytes is an object': async (store) => {
    assert.equal((await store.put('empty', { bytes: new Uint8Array(0) })).sizeBytes, 0);
    assert.equal((await readObject(store, 'empty', 10)).length, 0);
    assert.deepEqual(
      (await all(store, '')).map(({ key, sizeBytes }) => [key, sizeBytes]),
      [['empty', 0]],
    );
  },
  'an object of 20 MiB comes back bit for bit': async (store) => {
    const bytes = patternOf(7, LARGE_BYTES);
    await store.put('large', { bytes });
    assert.equal(digestOf(await readObject(store, 'large', LARGE_BYTES)), digestOf(bytes));
  },
  'bytes that are a view into the middle of shared memory are stored': async (store) => {
    const view = new Uint8Array(new SharedArrayBuffer(1000), 100, 200).fill(42);
    await store.put('shared', { bytes: view });
    assert.deepEqual(Buffer.from(await readObject(store, 'shared', 1000)), Buffer.alloc(200, 42));
  },
  'a file is stored whole, stays where it is, and can be stored again under the same and other keys': async (store) => {
    await withFile(patternOf(3, 3 << 20), async (file, sizeBytes) => {
      for (const key of ['one', 'one', 'two']) {
        assert.equal((await store.put(key, { file, sizeBytes })).sizeBytes, sizeBytes);
      }
      await store.put('two', { bytes: bytesOf('replaced') });
      const expected = digestOf(patternOf(3, 3 << 20));
      assert.equal(digestOf(await readObject(store, 'one', sizeBytes)), expected);
      await rm(file);
      assert.equal(digestOf(await readObject(store, 'one', sizeBytes)), expected);
      assert.deepEqual(await keysOf(store, ''), ['one', 'two']);
    });
  },
  'an empty file is stored as an object of no bytes': async (store) => {
    await withFile(new Uint8Array(0), async (file) => {
      assert.equal((await store.put('empty', { file, sizeBytes: 0 })).sizeBytes, 0);
      assert.equal((await readObject(store, 'empty', 1)).length, 0);
    });
  },
  'a file that is missing or not of the size announced is not stored': async (store) => {
    await withFile(bytesOf('12345'), async (file) => {
      const isRefused = (error: unknown): boolean => isStoreError(error, 'permanent');
      await assert.rejects(store.put('k', { file, sizeBytes: 4 }), isRefused);
      await assert.rejects(store.put('k', { file, sizeBytes: 6 }), isRefused);
      await assert.rejects(store.put('k', { file: `${file}.missing`, sizeBytes: 5 }), isRefused);
      assert.deepEqual(await keysOf(store, ''), []);
    });
  },
  'puts of different keys in new folders do not disturb each other': async (store) => {
    const keys = Array.from({ length: 40 }, (_, i) => `new/${i % 4}/deeper/${i}`);
    await forEachLimited(keys, PARALLEL_REQUESTS, async (key) => void (await store.put(key, { bytes: bytesOf(key) })));
    assert.deepEqual(await keysOf(store, 'new/'), inOrder(keys));
  },
};

const racing: Record<string, Check> = {
  'readers see the old object or the new one, whole, while many puts of one key race': async (store) => {
    const sizeBytes = 256 << 10;
    const versions = Array.from({ length: 24 }, (_, i) => patternOf(i, sizeBytes));
    const known = new Set(versions.map(digestOf));
    await store.put('hot', { bytes: versions[0] ?? new Uint8Array(0) });
    let writing = true;
    const reading = (async () => {
      let reads = 0;
      for (; writing || reads === 0; reads++) {
        const digest = digestOf(await readHot(store, sizeBytes));
        assert.ok(known.has(digest), 'a reader saw an object that nobody stored');
        const [seen] = await all(store, 'hot');
        assert.equal(seen?.sizeBytes, sizeBytes);
      }
    })();
    const puts = forEachLimited(versions, 6, async (bytes) => void (await store.put('hot', { bytes })));
    await puts.finally(() => {
      writing = false;
    });
    await reading;
    assert.ok(known.has(digestOf(await readObject(store, 'hot', sizeBytes))));
    assert.deepEqual(await keysOf(store, ''), ['hot']);
  },
};

const conditional: Record<string, Check> = {
  'a create stores where there is nothing, and leaves alone what is there': async (store) => {
    await store.put('k', { bytes: bytesOf('first') }, { ifAbsent: true });
    const again = store.put('k', { bytes: bytesOf('second') }, { ifAbsent: true });
    await assert.rejects(again, (error) => isStoreError(error, 'exists'));
    await withFile(bytesOf('third'), async (file, sizeBytes) => {
      const third = store.put('k', { file, sizeBytes }, { ifAbsent: true });
      await assert.rejects(third, (error) => isStoreError(error, 'exists'));
    });
    assert.equal(await textOf(store, 'k'), 'first');
    await store.delete(['k']);
    await store.put('k', { bytes: bytesOf('fourth') }, { ifAbsent: true });
    assert.equal(await textOf(store, 'k'), 'fourth');
  },
  'of 20 creators at once exactly one wins, and its object is the one that is stored': async (store) => {
    for (let round = 0; round < 5; round++) {
      const key = `claims/${round}`;
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) => store.put(key, { bytes: bytesOf(`creator ${i}`) }, { ifAbsent: true })),
      );
      const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []));
      assert.equal(winners.length, 1);
      assert.equal(await textOf(store, key), `creator ${winners[0]}`);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.ok(isStoreError(outcome.reason, 'exists'), String(outcome.reason));
      }
    }
  },
};

const timestamps: Record<string, Check> = {
  'the time given with a put comes back to the millisecond': async (store) => {
    const times = [0, 1, 999, 1_700_000_000_123, 1_700_000_000_999, 1_999_999_999_001, Date.now()];
    await withFile(bytesOf('x'), async (file, sizeBytes) => {
      for (const timestampMs of times) {
        const put = await store.put('bytes', { bytes: bytesOf('x') }, { timestampMs });
        const putFile = await store.put('file', { file, sizeBytes }, { timestampMs });
        assert.deepEqual(await all(store, ''), [put, putFile]);
        assert.deepEqual([put.modifiedMs, putFile.modifiedMs], [timestampMs, timestampMs]);
      }
    });
  },
};

const ranges: Record<string, Check> = {
  'any range reads the bytes it names, cut at the end of the object': async (store) => {
    const bytes = patternOf(1, 1000);
    await store.put('k', { bytes });
    const position = fc.integer({ min: 0, max: 1100 });
    await fc.assert(
      fc.asyncProperty(position, fc.option(position, { nil: undefined }), async (offset, length) => {
        const target = new Uint8Array(1200);
        const got = await readInto(store, 'k', target, { offset, length });
        const end = length === undefined ? undefined : offset + length;
        assert.deepEqual(target.slice(0, got), bytes.slice(offset, end));
      }),
      { numRuns: 60 },
    );
  },
  'the exact edges of an object can be read': async (store) => {
    await store.put('k', { bytes: bytesOf('0123456789') });
    const read = async (offset: number, length?: number): Promise<string> => {
      const target = new Uint8Array(20);
      return Buffer.from(target.subarray(0, await readInto(store, 'k', target, { offset, length }))).toString();
    };
    assert.equal(await read(0, 10), '0123456789');
    assert.equal(await read(9, 1), '9');
    assert.equal(await read(5, 0), '');
    assert.equal(await read(10), '');
    assert.equal(await read(10, 5), '');
    assert.equal(await read(11), '');
    assert.equal(await read(1_000_000_000, 5), '');
    assert.equal(await read(8, 100), '89');
  },
  'a reader goes on saying 0 at the end of its range, and can be closed in the middle': async (store) => {
    await store.put('k', { bytes: patternOf(1, 100_000) });
    const reader = await store.open('k', { offset: 10, length: 4 });
    const target = new Uint8Array(100);
    let done = 0;
    for (let got = -1; got !== 0; done += got) got = await reader.read(target);
    assert.equal(done, 4);
    assert.equal(await reader.read(target), 0);
    await reader.close();
    const early = await store.open('k');
    assert.ok((await early.read(target)) > 0);
    await early.close();
  },
  'reads fill memory shared between threads, and only the view they are given': async (store) => {
    await store.put('k', { bytes: bytesOf('abcdefgh') });
    const memory = new Uint8Array(new SharedArrayBuffer(32));
    assert.equal(await readInto(store, 'k', memory.subarray(10, 14), { offset: 2 }), 4);
    assert.equal(Buffer.from(memory).toString(), `${'\0'.repeat(10)}cdef${'\0'.repeat(18)}`);
  },
  'many ranges of one object can be read at once': async (store) => {
    const bytes = patternOf(5, 1 << 20);
    await store.put('k', { bytes });
    const offsets = Array.from({ length: 64 }, (_, i) => i * 16_384);
    await forEachLimited(offsets, PARALLEL_REQUESTS, async (offset) => {
      const target = new Uint8Array(16_384);
      assert.equal(await readInto(store, 'k', target, { offset, length: 16_384 }), 16_384);
      assert.equal(digestOf(target), digestOf(bytes.subarray(offset, offset + 16_384)));
    });
  },
};

/** Sorted as UTF-16 units, as segments or as file names, these come in other orders than as UTF-8 bytes. */
const TRICKY_KEYS = [
  ...['a', 'a!', 'a-', 'a-/x', 'a-b', 'a.', 'a./y', 'a.b', 'a0', 'a0/z', 'a_', 'aa', 'A', 'Z/1', 'b/-', 'b/.x', 'b/0'],
  ...[
    'b-/0',
    'b-0',
    'b./0',
    'b.0',
    'b0',
    'b0/0',
    'b/b/b',
    'b/b-',
    'b/b-b/c',
    'é',
    'é/é',
    'z',
    'zz',
    '\uffee',
    '\u{1f511}',
    '\u{1f511}/k',
  ],
].filter((key, _, keys) => !keys.some((other) => other.startsWith(`${key}/`)));

const listing: Record<string, Check> = {
  'an absent prefix is an empty listing': async (store) => {
    assert.deepEqual(await keysOf(store, ''), []);
    assert.deepEqual(await keysOf(store, 'no/such/folder/'), []);
    await store.put('a/b', { bytes: bytesOf('x') });
    for (const prefix of ['b', 'a/c', 'a/b/', 'a/b/c', 'a/bb', 'aa/'])
      assert.deepEqual(await keysOf(store, prefix), []);
  },
  'keys come in the order of their UTF-8 bytes': async (store) => {
    await putAll(store, TRICKY_KEYS);
    assert.deepEqual(await keysOf(store, ''), inOrder(TRICKY_KEYS));
  },
  'any prefix, also one that ends within a name, gives the keys that start with it': async (store) => {
    await putAll(store, TRICKY_KEYS);
    const prefixes = new Set(
      TRICKY_KEYS.flatMap((key) =>
        Array.from(key, (_, i) =>
          Array.from(key)
            .slice(0, i + 1)
            .join(''),
        ),
      ),
    );
    for (const prefix of prefixes) {
      const expected = inOrder(TRICKY_KEYS.filter((key) => key.startsWith(prefix)));
      assert.deepEqual(await keysOf(store, prefix), expected, `prefix ${JSON.stringify(prefix)}`);
    }
  },
  'startAfter leaves out the keys up to and including it, whether it exists or not': async (store) => {
    await putAll(store, TRICKY_KEYS);
    const starts = [
      ...TRICKY_KEYS,
      ...TRICKY_KEYS.map((key) => `${key}/`),
      ...TRICKY_KEYS.map((key) => `${key}!`),
      '',
      '~',
    ];
    for (const [prefix, after] of starts.flatMap((start) => ['', 'b', 'b/', 'a-'].map((p) => [p, start] as const))) {
      const expected = inOrder(TRICKY_KEYS.filter((key) => key.startsWith(prefix) && compareBytes(key, after) > 0));
      assert.deepEqual(await keysOf(store, prefix, after), expected, JSON.stringify({ prefix, after }));
    }
  },
  'a listing of 2,500 objects is complete, in order, and can be left early': async (store) => {
    const keys = Array.from(
      { length: LARGE_LISTING_OBJECTS },
      (_, i) => `ltx/0/${i.toString(16).padStart(16, '0')}.ltx`,
    );
    const others = ['ltx', 'ltx/1/x', 'ltx/00', 'lty/0'].slice(1);
    await putAll(store, [...keys, ...others]);
    assert.deepEqual(await keysOf(store, 'ltx/0/'), keys);
    assert.deepEqual(await keysOf(store, 'ltx/0/', keys[1234]), keys.slice(1235));
    assert.deepEqual(await keysOf(store, ''), inOrder([...keys, ...others]));
    const first: string[] = [];
    for await (const { key } of store.list('ltx/0/')) {
      first.push(key);
      if (first.length === 10) break;
    }
    assert.deepEqual(first, keys.slice(0, 10));
  },
  'a listing that runs while objects come and go has every object that stays': async (store) => {
    const stay = Array.from({ length: 200 }, (_, i) => `k/${String(i).padStart(3, '0')}`);
    await putAll(store, stay);
    let listing = true;
    const disturbing = (async () => {
      for (let i = 0; listing; i++) {
        await store.put(`k/${String(i % 200).padStart(3, '0')}-goes`, { bytes: bytesOf('x') });
        await store.delete([`k/${String(i % 200).padStart(3, '0')}-goes`]);
      }
    })();
    for (let i = 0; i < 5; i++) {
      const seen = await keysOf(store, 'k/');
      assert.deepEqual(
        seen.filter((key) => !key.endsWith('-goes')),
        stay,
      );
      assert.deepEqual(seen, inOrder(seen));
    }
    listing = false;
    await disturbing;
  },
};

const deleting: Record<string, Check> = {
  'what is deleted is gone; deleting what is not there is a success': async (store) => {
    await putAll(store, ['a/b', 'a/c']);
    const results = await store.delete(['a/b', 'a/never', 'no/folder', 'a', 'a/c/below']);
    assert.deepEqual(
      results,
      ['a/b', 'a/never', 'no/folder', 'a', 'a/c/below'].map((key) => ({ key, error: undefined })),
    );
    assert.deepEqual(await keysOf(store, ''), ['a/c']);
    await assert.rejects(store.open('a/b'), (error) => isStoreError(error, 'not-found'));
    await store.put('a/b', { bytes: bytesOf('again') });
    assert.equal(await textOf(store, 'a/b'), 'again');
  },
  'deleting no keys is a success': async (store) => {
    assert.deepEqual(await store.delete([]), []);
  },
  'many keys are deleted in one call, each with its own answer, in the order given': async (store) => {
    const keys = Array.from({ length: 1200 }, (_, i) => `d/${i % 7}/${i}`);
    await putAll(store, [...keys, 'd/stays']);
    const asked = [...keys.toReversed(), '../bad', 'd/3/3'];
    const results = await store.delete(asked);
    assert.deepEqual(
      results.map((result) => result.key),
      asked,
    );
    assert.deepEqual(
      results.filter((result) => result.error).map((result) => result.key),
      ['../bad'],
    );
    assert.deepEqual(await keysOf(store, ''), ['d/stays']);
  },
};

const aborting: Record<string, Check> = {
  'a call whose signal has aborted does nothing and fails with its reason': async (store) => {
    await store.put('k', { bytes: bytesOf('before') });
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    const isReason = (error: unknown): boolean => error === reason;
    await assert.rejects(store.put('k', { bytes: bytesOf('after') }, { signal }), isReason);
    await assert.rejects(store.open('k', { signal }), isReason);
    await assert.rejects(keysOf(store, '', undefined, signal), isReason);
    await assert.rejects(store.delete(['k'], { signal }), isReason);
    assert.equal(await textOf(store, 'k'), 'before');
  },
  'an abort ends a reader and a listing that are under way': async (store) => {
    await putAll(
      store,
      Array.from({ length: 300 }, (_, i) => `k/${i}`),
    );
    const reason = new Error('enough');
    const isReason = (error: unknown): boolean => error === reason;
    const reading = new AbortController();
    const reader = await store.open('k/1', { signal: reading.signal });
    reading.abort(reason);
    await assert.rejects(reader.read(new Uint8Array(1)), isReason);
    await reader.close();
    const control = new AbortController();
    const list = async (): Promise<void> => {
      for await (const _ of store.list('k/', { signal: control.signal })) control.abort(reason);
    };
    await assert.rejects(list(), isReason);
  },
  'an abort in the middle of a put leaves the old object or the new one, whole': async (store) => {
    const old = patternOf(1, 8 << 20);
    const fresh = patternOf(2, 8 << 20);
    const known = new Set([digestOf(old), digestOf(fresh)]);
    for (const delayMs of [0, 1, 3, 8]) {
      await store.put('k', { bytes: old });
      const signal = AbortSignal.timeout(delayMs);
      await store.put('k', { bytes: fresh }, { signal }).catch((error) => assert.equal(error, signal.reason));
      assert.ok(known.has(digestOf(await readObject(store, 'k', old.length))));
    }
    assert.deepEqual(await keysOf(store, ''), ['k']);
  },
};

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes that a seed determines and that differ everywhere from those of another seed. */
export function patternOf(seed: number, sizeBytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  for (let i = 0, state = (seed + 1) * 0x9e37_79b1; i < words.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    words[i] = state ^ (state >>> 13);
  }
  return new Uint8Array(words.buffer, 0, sizeBytes);
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function textOf(store: ReadableStore, key: string): Promise<string> {
  return Buffer.from(await readObject(store, key, 1 << 20)).toString();
}

export async function all(store: ReadableStore, prefix: string, options?: ListOptions): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const info of store.list(prefix, options)) found.push(info);
  return found;
}

export async function keysOf(
  store: ReadableStore,
  prefix: string,
  startAfter?: string,
  signal?: AbortSignal,
): Promise<string[]> {
  return (await all(store, prefix, { startAfter, signal })).map((info) => info.key);
}

/** A put may know the time of its object less exactly than a listing does. */
function assertSameObjects(actual: readonly ObjectInfo[], expected: readonly ObjectInfo[]): void {
  const withoutTime = ({ key, sizeBytes }: ObjectInfo) => ({ key, sizeBytes });
  assert.deepEqual(actual.map(withoutTime), expected.map(withoutTime));
  actual.forEach(({ modifiedMs }, i) => {
    assert.ok(Math.abs(modifiedMs - (expected[i]?.modifiedMs ?? 0)) < 3_600_000, `modifiedMs is ${modifiedMs}`);
  });
}

/** A reading that was cut cannot go on where its object was replaced meanwhile: it says so, and is begun again. */
async function readHot(store: Store, sizeBytes: number): Promise<Uint8Array> {
  for (;;) {
    try {
      return await readObject(store, 'hot', sizeBytes);
    } catch (error) {
      if (!isStoreError(error, 'permanent') || !/was replaced while it was read/.test(error.message)) throw error;
    }
  }
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function inOrder(keys: readonly string[]): string[] {
  return [...keys].sort(compareBytes);
}

async function putAll(store: Store, keys: readonly string[]): Promise<void> {
  await forEachLimited(keys, PARALLEL_REQUESTS, async (key) => void (await store.put(key, { bytes: bytesOf(key) })));
}

/** A file outside of any store for the time of `work`. */
export async function withFile(
  bytes: Uint8Array,
  work: (file: string, sizeBytes: number) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'rivulet-store-'));
  try {
    const file = join(folder, 'body');
    await writeFile(file, bytes, { mode: 0o600 });
    await work(file, bytes.length);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
