import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { FaultRule } from '../../src/store/fault/fault-rule.ts';
import { VERBS } from '../../src/store/fault/fault-rule.ts';
import { FaultStore } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import {
  type DeleteResult,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  readObject,
  type Store,
  StoreError,
} from '../../src/store/store.ts';
import { LimitedStore } from '../../src/store/wrap/limited-store.ts';
import { MeteredStore } from '../../src/store/wrap/metered-store.ts';
import { RateLimitedStore } from '../../src/store/wrap/rate-limited-store.ts';
import { Attempts, type RetryNotice, type RetryPolicy, withRetries } from '../../src/store/wrap/retry-policy.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { Semaphore } from '../../src/store/wrap/semaphore.ts';
import { type Clock, TokenBucket } from '../../src/store/wrap/token-bucket.ts';
import { failureOf } from '../support/s3-failure.ts';
import { tempFolder } from '../support/temp.ts';
import { bytesOf, conformance, keysOf, patternOf, textOf, withFile } from './conformance.ts';

const AT_ONCE: Partial<RetryPolicy> = { firstPauseMs: 0, longestPauseMs: 0 };
const UNLIMITED = { uploadBytesPerSecond: Number.POSITIVE_INFINITY, downloadBytesPerSecond: Number.POSITIVE_INFINITY };

function wrapped(name: string, wrap: (store: Store) => Store): void {
  conformance(name, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rivulet-wrapped-'));
    return {
      store: wrap(new FileStore({ root: folder })),
      supports: { ifAbsent: true, timestamps: true },
      cleanup: () => rm(folder, { recursive: true, force: true }),
    };
  });
}

wrapped('RetryingStore', (store) => new RetryingStore(store));
wrapped('LimitedStore of 3', (store) => new LimitedStore(store, 3));
wrapped('MeteredStore', (store) => new MeteredStore(store));
wrapped(
  'RateLimitedStore',
  (store) => new RateLimitedStore(store, { uploadBytesPerSecond: 1e12, downloadBytesPerSecond: 1e12 }),
);
wrapped(
  'all of them',
  (store) =>
    new RetryingStore(
      new LimitedStore(new RateLimitedStore(new MeteredStore(store), { ...UNLIMITED, uploadBytesPerSecond: 1e12 }), 4),
      AT_ONCE,
    ),
);

/** What is replaced while it is read is an error, as it should be: this key of the suite is replaced all the time. */
const NOT_HOT = /^(?!hot$)/;

/** Each verb fails one time in five, before anything is done; listings and readers also in the middle. */
const FAULTS: readonly FaultRule[] = [
  ...VERBS.map(
    (verb): FaultRule => ({ verb, kind: 'error-before', probability: 0.2, ...(verb === 'read' && { key: NOT_HOT }) }),
  ),
  { verb: 'delete', kind: 'error-after', probability: 0.2 },
  { verb: 'open', kind: 'cut', afterBytes: 1000, probability: 0.2, key: NOT_HOT },
  { verb: 'list', kind: 'cut', afterObjects: 3, probability: 0.2, times: 1000 },
];
wrapped(
  'RetryingStore over a store that fails one time in five',
  (store) => new RetryingStore(new FaultStore(store, { rules: FAULTS, seed: 7 }), { ...AT_ONCE, attempts: 25 }),
);

// ---- RetryingStore ----

interface Faulty {
  readonly inner: FileStore;
  readonly faults: FaultStore;
  readonly store: RetryingStore;
  readonly notices: RetryNotice[];
}

function faulty(t: TestContext, rules: readonly FaultRule[], policy: Partial<RetryPolicy> = {}): Faulty {
  const inner = new FileStore({ root: tempFolder(t) });
  const faults = new FaultStore(inner, { rules });
  const notices: RetryNotice[] = [];
  const store = new RetryingStore(faults, { ...AT_ONCE, onRetry: (notice) => notices.push(notice), ...policy });
  return { inner, faults, store, notices };
}

const transient = (retryAfterMs?: number): StoreError =>
  new StoreError('transient', { message: 'for now' }, { retryAfterMs });

/** A store of which only what a test needs is there. */
function partOfStore(part: Partial<Store>): Store {
  const missing = (): never => assert.fail('not expected to be called');
  return {
    url: 'test://store',
    conditionalWrites: missing,
    list: missing,
    open: missing,
    put: missing,
    delete: missing,
    close: async () => undefined,
    ...part,
  };
}

test('a listing that fails goes on after the last key that it gave', async (t) => {
  const { inner, faults, store } = faulty(t, [{ verb: 'list', kind: 'cut', afterObjects: 4, times: 3 }]);
  const keys = Array.from({ length: 10 }, (_, i) => `k/${i}`);
  for (const key of keys) await inner.put(key, { bytes: bytesOf(key) });
  assert.deepEqual(await keysOf(store, 'k/', 'k/0'), keys.slice(1));
  assert.equal(faults.counts.list.calls, 4);
});

test('a listing that fails at the same place again and again is given up, with what it had given before', async (t) => {
  const { inner, faults, store } = faulty(t, [{ verb: 'list', kind: 'cut', afterObjects: 0 }], { attempts: 4 });
  await inner.put('k', { bytes: bytesOf('x') });
  await assert.rejects(keysOf(store, ''), /injected fault/);
  assert.equal(faults.counts.list.calls, 4);
});

test('a reader goes on at the byte that it had reached, and of the version that it began with', async () => {
  const bytes = patternOf(1, 100);
  const asked: OpenOptions[] = [];
  const store = partOfStore({
    open: async (_, options = {}) => {
      asked.push(options);
      let at = options.offset ?? 0;
      const cutAt = at + 30;
      return {
        version: 'v1',
        read: async (target) => {
          if (at >= cutAt) throw transient();
          const end = Math.min(
            at + target.length,
            cutAt,
            (options.offset ?? 0) + (options.length ?? 1e9),
            bytes.length,
          );
          target.set(bytes.subarray(at, end));
          const got = end - at;
          at = end;
          return got;
        },
        close: async () => undefined,
      };
    },
  });
  const whole = await readObject(new RetryingStore(store, AT_ONCE), 'k', 100);
  assert.deepEqual(whole, bytes);
  assert.deepEqual(
    asked.map(({ offset, length, version }) => [offset, length, version]),
    [
      [undefined, undefined, undefined],
      [30, undefined, 'v1'],
      [60, undefined, 'v1'],
      [90, undefined, 'v1'],
    ],
  );
});

test('a reader of a version that was asked for goes on with that one, also where readers do not name theirs', async () => {
  const versions: (string | undefined)[] = [];
  let fails = true;
  const store = partOfStore({
    open: async (_, options = {}) => {
      versions.push(options.version);
      const failing = fails;
      fails = false;
      return { read: async () => (failing ? Promise.reject(transient()) : 0), close: async () => undefined };
    },
  });
  const reader = await new RetryingStore(store, AT_ONCE).open('k', { version: 'v7' });
  assert.equal(await reader.read(new Uint8Array(1)), 0);
  assert.deepEqual(versions, ['v7', 'v7']);
});

test('a reader of a store that names no versions is not gone on with in the middle: it could be of another object', async () => {
  let opened = 0;
  const store = partOfStore({
    open: async () => {
      opened++;
      let reads = 0;
      return { read: async () => (++reads > 1 ? Promise.reject(transient()) : 1), close: async () => undefined };
    },
  });
  const reader = await new RetryingStore(store, AT_ONCE).open('k');
  assert.equal(await reader.read(new Uint8Array(1)), 1);
  await assert.rejects(reader.read(new Uint8Array(1)), /for now/);
  assert.equal(opened, 1);
});

test('a file that is replaced while a failed read of it is made again is an error, and never a mixture', async (t) => {
  const { inner, store } = faulty(t, [{ verb: 'open', kind: 'cut', afterBytes: 10, times: 1 }]);
  await inner.put('k', { bytes: patternOf(1, 100) });
  const same = await store.open('k');
  assert.equal(await same.read(new Uint8Array(10)), 10);
  assert.equal(await same.read(new Uint8Array(100)), 90);
  await same.close();
  const { inner: other, store: retrying } = faulty(t, [{ verb: 'open', kind: 'cut', afterBytes: 10, times: 1 }]);
  await other.put('k', { bytes: patternOf(1, 100) });
  const reader = await retrying.open('k');
  assert.equal(await reader.read(new Uint8Array(10)), 10);
  await other.put('k', { bytes: patternOf(2, 100) });
  await assert.rejects(reader.read(new Uint8Array(100)), /it was replaced while it was read/);
  await reader.close();
});

test('a reader that fails is closed before another is opened, and each is closed once', async () => {
  let [open, closed] = [0, 0];
  const store = partOfStore({
    open: async () => {
      assert.equal(open, closed);
      open++;
      return {
        read: async () => (open < 4 ? Promise.reject(transient()) : 0),
        close: async () => {
          closed++;
        },
      };
    },
  });
  const reader = await new RetryingStore(store, AT_ONCE).open('k');
  assert.equal(await reader.read(new Uint8Array(1)), 0);
  await reader.close();
  await reader.close();
  assert.deepEqual([open, closed], [4, 4]);
});

test('a delete asks again only for the keys that failed, and answers in the order given', async () => {
  const asked: (readonly string[])[] = [];
  const store = partOfStore({
    delete: async (keys) => {
      asked.push(keys);
      return keys.map((key): DeleteResult => {
        if (key === 'denied') return { key, error: new StoreError('denied', { message: 'no' }) };
        return { key, error: key.startsWith('t') && asked.length < Number(key.slice(1)) ? transient() : undefined };
      });
    },
  });
  const keys = ['t3', 'a', 'denied', 't2', 'b', 't9'];
  const results = await new RetryingStore(store, { ...AT_ONCE, attempts: 4 }).delete(keys);
  assert.deepEqual(asked, [keys, ['t3', 't2', 't9'], ['t3', 't9'], ['t9']]);
  assert.deepEqual(
    results.map(({ key, error }) => [key, error?.kind]),
    [
      ['t3', undefined],
      ['a', undefined],
      ['denied', 'denied'],
      ['t2', undefined],
      ['b', undefined],
      ['t9', 'transient'],
    ],
  );
});

test('a delete that fails as a whole is tried again as a whole', async () => {
  let calls = 0;
  const store = partOfStore({
    delete: async (keys) => {
      if (++calls < 3) throw transient();
      return keys.map((key) => ({ key, error: undefined }));
    },
  });
  assert.deepEqual(
    await new RetryingStore(store, AT_ONCE).delete(['a', 'b']),
    ['a', 'b'].map((key) => ({ key, error: undefined })),
  );
  assert.equal(calls, 3);
});

test('only failures that may pass are tried again, and no more often than allowed', async (t) => {
  for (const errorKind of ['not-found', 'exists', 'denied', 'full', 'permanent'] as const) {
    const rules = VERBS.map((verb): FaultRule => ({ verb, kind: 'error-before', errorKind }));
    const { faults, store } = faulty(t, rules);
    await failureOf(store.put('k', { bytes: bytesOf('x') }));
    await failureOf(store.open('k'));
    await failureOf(keysOf(store, ''));
    const [result] = await store.delete(['k']);
    assert.ok(result?.error);
    const { put, open, list, delete: deletes } = faults.counts;
    assert.deepEqual(
      [put, open, list, deletes].map(({ calls }) => calls),
      [1, 1, 1, 1],
      errorKind,
    );
  }
  const { faults, store, notices } = faulty(
    t,
    VERBS.map((verb): FaultRule => ({ verb, kind: 'error-before' })),
    { attempts: 3 },
  );
  await failureOf(store.put('k', { bytes: bytesOf('x') }));
  assert.equal(faults.counts.put.calls, 3);
  assert.deepEqual(
    notices.map(({ attempt, what }) => [attempt, what]),
    [1, 2].map((n) => [n, `storing ${store.url}/k`]),
  );
});

test('what is no error of a store is not tried again', async () => {
  let calls = 0;
  const store = partOfStore({
    put: async () => {
      calls++;
      throw new TypeError('a defect');
    },
  });
  await assert.rejects(new RetryingStore(store).put('k', { bytes: bytesOf('x') }), TypeError);
  assert.equal(calls, 1);
});

// ---- Attempts ----

test('pauses double from the first to the longest, with up to a quarter more', async () => {
  // Pauses of micro- instead of milliseconds: told in full, and over at once.
  const pauses: number[] = [];
  const policy: RetryPolicy = {
    attempts: 9,
    firstPauseMs: 0.001,
    longestPauseMs: 0.016,
    longestRetryAfterMs: 1000,
    onRetry: ({ pauseMs }) => pauses.push(pauseMs),
  };
  await failureOf(withRetries(policy, 'x', undefined, () => Promise.reject(transient())));
  const expected = [1, 2, 4, 8, 16, 16, 16, 16].map((micro) => micro / 1000);
  assert.equal(pauses.length, expected.length);
  pauses.forEach((pause, i) => {
    const least = expected[i] ?? 0;
    assert.ok(pause >= least && pause <= least * 1.25 + 1e-9, `${pause} is not ${least}`);
  });
});

test('a store that asks for more than the pause gets it, and one that asks for too much is given up', async () => {
  const pauses: number[] = [];
  const policy = (longestRetryAfterMs: number): RetryPolicy => ({
    attempts: 2,
    firstPauseMs: 0,
    longestPauseMs: 0,
    longestRetryAfterMs,
    onRetry: ({ pauseMs }) => pauses.push(pauseMs),
  });
  const error = transient(3);
  assert.equal(await failureOf(withRetries(policy(3), 'x', undefined, () => Promise.reject(error))), error);
  assert.equal(pauses.length, 1);
  assert.ok((pauses[0] ?? 0) >= 3);
  assert.equal(await failureOf(withRetries(policy(2), 'x', undefined, () => Promise.reject(error))), error);
  assert.equal(pauses.length, 1);
});

test('an abort during a pause ends it at once with its reason, and leaves no listener', async () => {
  const control = new AbortController();
  const reason = new Error('enough');
  const policy: RetryPolicy = {
    attempts: 3,
    firstPauseMs: 3_600_000,
    longestPauseMs: 3_600_000,
    longestRetryAfterMs: 0,
    onRetry: () => setImmediate(() => control.abort(reason)),
  };
  const error = await failureOf(withRetries(policy, 'x', control.signal, () => Promise.reject(transient())));
  assert.equal(error, reason);
  assert.equal(getEventListeners(control.signal, 'abort').length, 0);
});

test('a failure after an abort is the abort, and no further attempt is made', async () => {
  const control = new AbortController();
  let calls = 0;
  const work = async (): Promise<never> => {
    calls++;
    control.abort(new Error('enough'));
    throw transient();
  };
  const policy: RetryPolicy = { attempts: 3, firstPauseMs: 0, longestPauseMs: 0, longestRetryAfterMs: 0 };
  assert.equal(await failureOf(withRetries(policy, 'x', control.signal, work)), control.signal.reason);
  assert.equal(calls, 1);
});

test('something that came through starts the count of failures anew', async () => {
  const attempts = new Attempts(
    { attempts: 2, firstPauseMs: 0, longestPauseMs: 0, longestRetryAfterMs: 0 },
    'x',
    undefined,
  );
  await attempts.after(transient());
  attempts.reset();
  await attempts.after(transient());
  await assert.rejects(attempts.after(transient()), /for now/);
});

// ---- LimitedStore and Semaphore ----

/** A store whose calls wait until they are let go, and that knows how many are under way. */
class GatedStore {
  under = 0;
  most = 0;
  readonly started: string[] = [];
  readonly #gates = new Map<string, PromiseWithResolvers<void>>();
  readonly store: Store = partOfStore({
    put: async (key) => this.#call(key, { key, sizeBytes: 0, modifiedMs: 0 }),
    delete: async ([key = '']) => this.#call(key, []),
    open: async (key) => this.#call(key, { read: async () => 0, close: async () => undefined }),
  });

  async #call<T>(key: string, result: T): Promise<T> {
    this.started.push(key);
    this.most = Math.max(this.most, ++this.under);
    try {
      await this.#gate(key).promise;
      return result;
    } finally {
      this.under--;
    }
  }

  #gate(key: string): PromiseWithResolvers<void> {
    const gate = this.#gates.get(key) ?? Promise.withResolvers<void>();
    this.#gates.set(key, gate);
    return gate;
  }

  letGo(key: string): void {
    this.#gate(key).resolve();
  }

  fail(key: string): void {
    this.#gate(key).reject(transient());
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const NO_BYTES: PutBody = { bytes: new Uint8Array(0) };

test('never more calls are under way than allowed, and the others start in the order of their coming', async () => {
  const gated = new GatedStore();
  const store = new LimitedStore(gated.store, 2);
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const calls = names.map(async (name, i) => {
    if (i % 3 === 0) await store.put(name, NO_BYTES);
    else if (i % 3 === 1) await store.delete([name]);
    else await (await store.open(name)).close();
  });
  await turn();
  assert.deepEqual(gated.started, ['a', 'b']);
  gated.letGo('b');
  await turn();
  assert.deepEqual(gated.started, ['a', 'b', 'c']);
  gated.letGo('a');
  await turn();
  assert.deepEqual(gated.started, ['a', 'b', 'c', 'd']);
  for (const name of names) gated.letGo(name);
  await Promise.all(calls);
  assert.equal(gated.most, 2);
});

test('a call that fails makes room for the next one', async () => {
  const gated = new GatedStore();
  const store = new LimitedStore(gated.store, 1);
  for (const [i, call] of [
    (key: string) => store.put(key, NO_BYTES),
    (key: string) => store.delete([key]),
    (key: string) => store.open(key),
  ].entries()) {
    const failing = failureOf(call(`fails${i}`));
    const next = store.put(`next${i}`, NO_BYTES);
    gated.fail(`fails${i}`);
    assert.ok((await failing) instanceof StoreError);
    gated.letGo(`next${i}`);
    await next;
  }
  assert.equal(gated.most, 1);
});

test('a reader counts until it is closed, and only once however often that is done', async () => {
  const gated = new GatedStore();
  const store = new LimitedStore(gated.store, 1);
  gated.letGo('r');
  const reader = await store.open('r');
  const waiting = ['a', 'b'].map((key) => store.put(key, NO_BYTES));
  await turn();
  assert.deepEqual(gated.started, ['r']);
  await reader.close();
  await reader.close();
  await turn();
  assert.deepEqual(gated.started, ['r', 'a']);
  gated.letGo('a');
  gated.letGo('b');
  await Promise.all(waiting);
});

test('a reader whose closing fails makes room all the same', async () => {
  const inner = partOfStore({
    open: async () => ({ read: async () => 0, close: () => Promise.reject(transient()) }),
    put: async (key) => ({ key, sizeBytes: 0, modifiedMs: 0 }),
  });
  const store = new LimitedStore(inner, 1);
  const reader = await store.open('r');
  await assert.rejects(reader.close(), /for now/);
  await store.put('a', NO_BYTES);
});

test('a call that is aborted while it waits never starts, and takes the place of nobody', async () => {
  const gated = new GatedStore();
  const store = new LimitedStore(gated.store, 1);
  const control = new AbortController();
  const first = store.put('a', NO_BYTES);
  const aborted = failureOf(store.put('b', NO_BYTES, { signal: control.signal }));
  const third = store.put('c', NO_BYTES);
  control.abort(new Error('enough'));
  assert.equal(await aborted, control.signal.reason);
  assert.equal(getEventListeners(control.signal, 'abort').length, 0);
  await turn();
  assert.deepEqual(gated.started, ['a']);
  gated.letGo('a');
  gated.letGo('c');
  await Promise.all([first, third]);
  assert.deepEqual(gated.started, ['a', 'c']);
});

test('a listing counts only while its next keys are fetched, and one that is left early makes room', async (t) => {
  const inner = new FileStore({ root: tempFolder(t) });
  for (const key of ['a', 'b', 'c']) await inner.put(key, NO_BYTES);
  const store = new LimitedStore(inner, 1);
  const seen: string[] = [];
  for await (const { key } of store.list('')) {
    seen.push(key);
    await store.put(`made while ${key} is looked at`.replaceAll(' ', '-'), NO_BYTES);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, ['a', 'b']);
  await store.put('z', NO_BYTES);
});

test('a limit below one is refused', () => {
  for (const limit of [0, -1, Number.NaN]) assert.throws(() => new LimitedStore(partOfStore({}), limit), RangeError);
});

test('whatever comes, goes and is aborted: a semaphore never lets in too many, loses no permit and keeps the order', async () => {
  const actions = fc.array(fc.record({ what: fc.constantFrom('come', 'come', 'go', 'abort'), which: fc.nat(20) }), {
    maxLength: 60,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), actions, async (permits, steps) => {
      const semaphore = new Semaphore(permits);
      const waiting: { readonly id: number; readonly control: AbortController }[] = [];
      const inside: { readonly id: number; readonly release: () => void }[] = [];
      let ids = 0;
      const settle = async (): Promise<void> => {
        for (let i = 0; i < 5; i++) await Promise.resolve();
      };
      for (const { what, which } of steps) {
        if (what === 'come') {
          const visitor = { id: ids++, control: new AbortController() };
          waiting.push(visitor);
          semaphore.acquire(visitor.control.signal).then(
            (release) => {
              assert.equal(waiting.shift(), visitor, 'the one who waits the longest');
              inside.push({ id: visitor.id, release });
            },
            () => waiting.splice(waiting.indexOf(visitor), 1),
          );
        } else if (what === 'go' && inside.length > 0) {
          const [leaver] = inside.splice(which % inside.length, 1);
          leaver?.release();
          leaver?.release();
        } else if (what === 'abort' && waiting.length > 0) {
          waiting[which % waiting.length]?.control.abort(new Error('enough'));
        }
        await settle();
        assert.ok(inside.length <= permits);
        assert.ok(waiting.length === 0 || inside.length === permits, 'nobody waits while there is room');
      }
      while (inside.length > 0) {
        inside.pop()?.release();
        await settle();
      }
      assert.equal(waiting.length, 0);
      await Promise.all(Array.from({ length: permits }, () => semaphore.acquire()));
    }),
  );
});

// ---- MeteredStore ----

test('calls, requests, bytes and failures are counted by verb', async () => {
  const told = (options: RequestOptions | undefined, method: string, sentBytes: number): void =>
    options?.onRequest?.({ method, sentBytes });
  const inner = partOfStore({
    async *list(_, options) {
      told(options, 'GET', 0);
      yield { key: 'a', sizeBytes: 1, modifiedMs: 0 };
      told(options, 'GET', 0);
      throw transient();
    },
    open: async (key, options) => {
      told(options, 'GET', 0);
      if (key === 'missing') throw new StoreError('not-found', { message: 'no' });
      let left = 2;
      return {
        read: async (target) => {
          if (left-- === 0) throw transient();
          return target.length;
        },
        close: async () => undefined,
      };
    },
    put: async (key, _, options) => {
      told(options, 'POST', 0);
      told(options, 'PUT', 70);
      told(options, 'PUT', 30);
      if (key === 'full') throw new StoreError('full', { message: 'no' });
      return { key, sizeBytes: 100, modifiedMs: 0 };
    },
    delete: async (keys, options) => {
      told(options, 'POST', 50);
      return keys.map((key) => ({
        key,
        error: key === 'bad' ? new StoreError('denied', { message: 'no' }) : undefined,
      }));
    },
  });
  const store = new MeteredStore(inner);
  const heard: string[] = [];
  const onRequest = ({ method }: { method: string }): void => void heard.push(method);
  await failureOf(keysOf(store, ''));
  const reader = await store.open('k', { onRequest });
  await reader.read(new Uint8Array(10));
  await reader.read(new Uint8Array(32));
  await failureOf(reader.read(new Uint8Array(10)));
  await failureOf(store.open('missing'));
  await store.put('k', NO_BYTES);
  await failureOf(store.put('full', NO_BYTES));
  await store.delete(['a', 'bad', 'bad']);
  assert.deepEqual(store.usage, {
    list: { calls: 1, failures: { transient: 1 }, requests: { GET: 2 }, sentBytes: 0, receivedBytes: 0 },
    open: {
      calls: 2,
      failures: { transient: 1, 'not-found': 1 },
      requests: { GET: 2 },
      sentBytes: 0,
      receivedBytes: 42,
    },
    put: { calls: 2, failures: { full: 1 }, requests: { POST: 2, PUT: 4 }, sentBytes: 200, receivedBytes: 0 },
    delete: { calls: 1, failures: { denied: 2 }, requests: { POST: 1 }, sentBytes: 50, receivedBytes: 0 },
  });
  assert.deepEqual(heard, ['GET'], 'who asked hears of it, too');
});

test('a store without a wire is counted by what was stored, and the usage that was taken does not change afterwards', async (t) => {
  const store = new MeteredStore(new FileStore({ root: tempFolder(t) }));
  const before = store.usage;
  await store.put('a', { bytes: patternOf(1, 1234) });
  await withFile(patternOf(1, 500), async (file, sizeBytes) => void (await store.put('b', { file, sizeBytes })));
  assert.equal(await readObject(store, 'a', 5000).then(({ length }) => length), 1234);
  assert.equal(store.usage.put.sentBytes, 1734);
  assert.equal(store.usage.open.receivedBytes, 1234);
  assert.deepEqual(store.usage.put.requests, {});
  assert.equal(before.put.calls, 0);
});

test('an abort is no failure of the store', async (t) => {
  const store = new MeteredStore(new FileStore({ root: tempFolder(t) }));
  await failureOf(store.put('a', NO_BYTES, { signal: AbortSignal.abort() }));
  assert.deepEqual([store.usage.put.calls, store.usage.put.failures], [1, {}]);
});

// ---- RateLimitedStore and TokenBucket ----

/** A clock that moves only when everybody sleeps, to where the first one wakes up. */
class FakeClock implements Clock {
  #nowMs = 1_000_000;
  readonly #sleepers: { readonly atMs: number; readonly wake: () => void }[] = [];
  #isScheduled = false;

  nowMs(): number {
    return this.#nowMs;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ atMs: this.#nowMs + ms, wake });
      signal?.addEventListener('abort', () => wake(), { once: true });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#sleepers.sort((a, b) => a.atMs - b.atMs);
      const next = this.#sleepers.shift();
      if (!next) return;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.wake();
      if (this.#sleepers.length > 0) this.#schedule();
    });
  }
}

/** Bytes that a bucket lets through at once when nobody took any for long: a quarter of a second's. */
const BURST_SECONDS = 0.25;

test('on average exactly the rate passes a bucket, whatever the sizes and the number of takers', async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 100, max: 100_000 }),
      sizes,
      fc.integer({ min: 1, max: 5 }),
      async (rate, all, takers) => {
        const clock = new FakeClock();
        const bucket = new TokenBucket(rate, clock);
        const startMs = clock.nowMs();
        const left = [...all];
        const taker = async (): Promise<void> => {
          for (let size = left.shift(); size !== undefined; size = left.shift()) await bucket.take(size);
        };
        await Promise.all(Array.from({ length: takers }, taker));
        const total = all.reduce((sum, size) => sum + size, 0);
        const expectedMs = Math.max(0, (total / rate - BURST_SECONDS) * 1000);
        assert.ok(
          Math.abs(clock.nowMs() - startMs - expectedMs) < 1,
          `${clock.nowMs() - startMs} ms and not ${expectedMs}`,
        );
      },
    ),
    { numRuns: 60 },
  );
});

test('what was not used is caught up with for a quarter of a second, not longer', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(1000, clock);
  await bucket.take(250);
  assert.equal(clock.nowMs(), 1_000_000);
  clock.advance(3_600_000);
  const startMs = clock.nowMs();
  await bucket.take(250);
  assert.equal(clock.nowMs(), startMs);
  await bucket.take(100);
  assert.equal(clock.nowMs(), startMs + 100);
});

test('a taker that is aborted ends with the reason, at once, and one without a rate never waits', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(1, clock);
  const control = new AbortController();
  const taking = failureOf(bucket.take(1_000_000, control.signal));
  control.abort(new Error('enough'));
  assert.equal(await taking, control.signal.reason);
  assert.equal(clock.nowMs(), 1_000_000);
  assert.equal(await failureOf(bucket.take(1, control.signal)), control.signal.reason);
  const free = new TokenBucket(Number.POSITIVE_INFINITY, clock);
  await free.take(Number.MAX_SAFE_INTEGER);
  for (const rate of [0, -1, Number.NaN]) assert.throws(() => new TokenBucket(rate), RangeError);
});

test('what an aborted taker did not send is not held against the others', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(1000, clock);
  const control = new AbortController();
  const taking = failureOf(bucket.take(3_600_000, control.signal));
  control.abort(new Error('enough'));
  await taking;
  const startMs = clock.nowMs();
  await bucket.take(1250);
  assert.equal(clock.nowMs() - startMs, 1000);
});

/** A store that sends in pieces of 1,000 bytes and reads as much as is asked for. */
function pieceStore(): Store & { readonly paces: number[] } {
  const paces: number[] = [];
  const put = async (key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> => {
    const sizeBytes = 'bytes' in body ? body.bytes.length : body.sizeBytes;
    for (let at = 0; at < sizeBytes; at += 1000) {
      const bytes = Math.min(1000, sizeBytes - at);
      await options.pace?.(bytes);
      paces.push(bytes);
    }
    return { key, sizeBytes, modifiedMs: 0 };
  };
  const open = async (): Promise<ObjectReader> => {
    let left = 300_000;
    return {
      version: 'v',
      read: async (target) => {
        const got = Math.min(target.length, left);
        left -= got;
        return got;
      },
      close: async () => undefined,
    };
  };
  return { ...partOfStore({ put, open }), paces };
}

test('a store that sends in pieces is held back at each, and whoever asked is asked as well', async () => {
  const clock = new FakeClock();
  const inner = pieceStore();
  const store = new RateLimitedStore(inner, { ...UNLIMITED, uploadBytesPerSecond: 1000 }, clock);
  const asked: number[] = [];
  const startMs = clock.nowMs();
  await store.put('k', { bytes: new Uint8Array(4250) }, { pace: async (bytes) => void asked.push(bytes) });
  assert.equal(clock.nowMs() - startMs, 4000);
  assert.deepEqual(inner.paces, [1000, 1000, 1000, 1000, 250]);
  assert.deepEqual(asked, inner.paces);
});

test('a store that does not send in pieces makes the next one wait', async (t) => {
  const clock = new FakeClock();
  const store = new RateLimitedStore(
    new FileStore({ root: tempFolder(t) }),
    { ...UNLIMITED, uploadBytesPerSecond: 1000 },
    clock,
  );
  const startMs = clock.nowMs();
  for (let i = 0; i < 3; i++) await store.put(`k${i}`, { bytes: new Uint8Array(1000) });
  assert.equal(clock.nowMs() - startMs, 2750);
});

test('what is read comes at the rate, all readers together, in pieces that make nobody wait for long', async () => {
  const clock = new FakeClock();
  const store = new RateLimitedStore(pieceStore(), { ...UNLIMITED, downloadBytesPerSecond: 100_000 }, clock);
  const startMs = clock.nowMs();
  const read = async (): Promise<void> => {
    const reader = await store.open('k');
    assert.equal(reader.version, 'v');
    for (let got = -1; got !== 0; ) {
      got = await reader.read(new Uint8Array(1 << 20));
      assert.ok(got <= 64 * 1024);
    }
    await reader.close();
  };
  await Promise.all([read(), read()]);
  assert.ok(Math.abs(clock.nowMs() - startMs - 5750) < 1, String(clock.nowMs() - startMs));
});

test('an abort ends a put and a read that are held back', async () => {
  const never: Clock = {
    nowMs: () => 0,
    sleep: (_, signal) => new Promise((wake) => signal?.addEventListener('abort', () => wake(), { once: true })),
  };
  const store = new RateLimitedStore(pieceStore(), { uploadBytesPerSecond: 1, downloadBytesPerSecond: 1 }, never);
  const control = new AbortController();
  const putting = failureOf(store.put('k', { bytes: new Uint8Array(5000) }, { signal: control.signal }));
  const reader = await store.open('k', { signal: control.signal });
  const reading = failureOf(reader.read(new Uint8Array(5000)));
  await turn();
  control.abort(new Error('enough'));
  assert.equal(await putting, control.signal.reason);
  assert.equal(await reading, control.signal.reason);
});

test('without limits nothing is held back', async () => {
  const frozen: Clock = { nowMs: () => 0, sleep: () => new Promise(() => undefined) };
  const store = new RateLimitedStore(pieceStore(), UNLIMITED, frozen);
  await store.put('k', { bytes: new Uint8Array(5_000_000) });
  assert.equal((await readObject(store, 'k', 300_000)).length, 300_000);
});

test('every wrapper has the URL of the store behind it, and closes it', async () => {
  const wraps: readonly ((store: Store) => Store)[] = [
    (store) => new RetryingStore(store),
    (store) => new LimitedStore(store, 1),
    (store) => new MeteredStore(store),
    (store) => new RateLimitedStore(store, UNLIMITED),
  ];
  for (const wrap of wraps) {
    let closed = 0;
    const store = wrap(partOfStore({ close: async () => void closed++ }));
    assert.equal(store.url, 'test://store');
    await store.close();
    assert.equal(closed, 1);
  }
});

test('a whole chain of wrappers reads what it wrote, and counts what went over the wire once', async (t) => {
  const metered = new MeteredStore(new FileStore({ root: tempFolder(t) }));
  const store = new RetryingStore(new LimitedStore(new RateLimitedStore(metered, UNLIMITED), 2));
  await store.put('k', { bytes: bytesOf('hello') });
  assert.equal(await textOf(store, 'k'), 'hello');
  assert.equal(metered.usage.put.sentBytes, 5);
  assert.equal(metered.usage.open.receivedBytes, 5);
});
