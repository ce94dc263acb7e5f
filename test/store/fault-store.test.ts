import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { FaultRule } from '../../src/store/fault/fault-rule.ts';
import { FaultStore, type FaultStoreOptions } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { isStoreError, readInto, readObject, type Store, type StoreErrorKind } from '../../src/store/store.ts';
import { bytesOf, conformance, keysOf, patternOf, textOf } from './conformance.ts';

conformance('a fault store without rules, over a file store', async () => {
  const root = await mkdtemp(join(tmpdir(), 'rivulet-fault-'));
  return {
    store: new FaultStore(new FileStore({ root })),
    supports: { ifAbsent: true, timestamps: true },
    cleanup: () => rm(root, { recursive: true, force: true }),
  };
});

test('error-before fails the call and nothing was done', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'error-before', times: 1 }] }, async (store, inner) => {
    await assert.rejects(store.put('k', { bytes: bytesOf('x') }), ofKind('transient'));
    assert.deepEqual(await keysOf(inner, ''), []);
    await store.put('k', { bytes: bytesOf('x') });
    assert.deepEqual(store.counts.put, { calls: 2, faults: 1 });
  });
});

test('error-after on a put is a lost answer: the object is stored and the caller sees a failure', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'error-after', times: 1 }] }, async (store, inner) => {
    await assert.rejects(store.put('k', { bytes: bytesOf('x') }, { ifAbsent: true }), ofKind('transient'));
    assert.equal(await textOf(inner, 'k'), 'x');
    await assert.rejects(store.put('k', { bytes: bytesOf('x') }, { ifAbsent: true }), ofKind('exists'));
  });
});

test('error-after happens on every other verb too, once its work is done', async () => {
  const verbs = ['open', 'read', 'list', 'delete'] as const;
  const rules = verbs.map((verb): FaultRule => ({ verb, kind: 'error-after', times: 1, errorKind: 'denied' }));
  await withFaults({ rules }, async (store, inner) => {
    await inner.put('k', { bytes: bytesOf('x') });
    await assert.rejects(store.open('k'), ofKind('denied'));
    await assert.rejects(textOf(store, 'k'), ofKind('denied'));
    const seen: string[] = [];
    const listing = (async () => {
      for await (const { key } of store.list('')) seen.push(key);
    })();
    await assert.rejects(listing, ofKind('denied'));
    assert.deepEqual(seen, ['k']);
    const [result] = await store.delete(['k']);
    assert.ok(isStoreError(result?.error, 'denied'));
    assert.deepEqual(await keysOf(store, ''), []);
  });
});

test('a cut put fails and nothing of it is stored', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'cut', afterBytes: 10 }] }, async (store, inner) => {
    await inner.put('k', { bytes: bytesOf('old') });
    await assert.rejects(store.put('k', { bytes: patternOf(1, 100) }), ofKind('transient'));
    assert.equal(await textOf(inner, 'k'), 'old');
  });
});

test('a cut reader gives as many bytes as the rule says and then fails', async () => {
  for (const verb of ['open', 'read'] as const) {
    await withFaults({ rules: [{ verb, kind: 'cut', afterBytes: 70, times: 1 }] }, async (store, inner) => {
      const bytes = patternOf(1, 100);
      await inner.put('k', { bytes });
      const target = new Uint8Array(100);
      const reader = await store.open('k');
      let done = 0;
      const reading = async (): Promise<void> => {
        for (let got = -1; got !== 0; done += got) got = await reader.read(target.subarray(done, done + 32));
      };
      await assert.rejects(reading(), ofKind('transient'));
      assert.equal(done, 70);
      assert.deepEqual(target.subarray(0, 70), bytes.subarray(0, 70));
      await reader.close();
      assert.deepEqual(await readObject(store, 'k', 100), bytes, 'the rule is spent');
      assert.equal(store.counts[verb].faults, 1);
    });
  }
});

test('a cut listing and a cut delete stop half-way', async () => {
  const rules: FaultRule[] = [
    { verb: 'list', kind: 'cut', afterObjects: 2, times: 1 },
    { verb: 'delete', kind: 'cut', afterObjects: 3 },
  ];
  await withFaults({ rules }, async (store, inner) => {
    const keys = ['a', 'b', 'c', 'd', 'e'];
    for (const key of keys) await inner.put(key, { bytes: bytesOf(key) });
    const seen: string[] = [];
    const listing = (async () => {
      for await (const { key } of store.list('')) seen.push(key);
    })();
    await assert.rejects(listing, ofKind('transient'));
    assert.deepEqual(seen, ['a', 'b']);
    const results = await store.delete(keys);
    assert.deepEqual(
      results.filter(({ error }) => error).map(({ key }) => key),
      ['d', 'e'],
    );
    assert.deepEqual(await keysOf(inner, ''), ['d', 'e']);
  });
});

test('a full store refuses what is put and still gives what it holds', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'full' }] }, async (store, inner) => {
    await inner.put('k', { bytes: bytesOf('old') });
    await assert.rejects(store.put('k', { bytes: bytesOf('new') }), ofKind('full'));
    assert.equal(await textOf(store, 'k'), 'old');
  });
});

test('a slow call takes its time and then works, and can be aborted', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'slow', delayMs: 60 }] }, async (store, inner) => {
    const start = performance.now();
    await store.put('k', { bytes: bytesOf('x') });
    assert.ok(performance.now() - start >= 55);
    const signal = AbortSignal.timeout(10);
    await assert.rejects(store.put('late', { bytes: bytesOf('x') }, { signal }), (error) => error === signal.reason);
    assert.deepEqual(await keysOf(inner, ''), ['k']);
  });
});

test('a slow rule lets the next one strike behind it', async () => {
  const rules: FaultRule[] = [
    { verb: 'put', kind: 'slow', delayMs: 30 },
    { verb: 'put', kind: 'error-before' },
  ];
  await withFaults({ rules }, async (store) => {
    const start = performance.now();
    await assert.rejects(store.put('k', { bytes: bytesOf('x') }), ofKind('transient'));
    assert.ok(performance.now() - start >= 25);
    assert.deepEqual(store.counts.put, { calls: 1, faults: 2 });
  });
});

test('a call that hangs ends when its signal aborts or the store is closed, a read when its reader is', async () => {
  const rules: FaultRule[] = [
    { verb: 'put', kind: 'hang' },
    { verb: 'read', kind: 'hang' },
  ];
  await withFaults({ rules }, async (store, inner) => {
    await inner.put('k', { bytes: bytesOf('x') });
    const control = new AbortController();
    const aborted = store.put('a', { bytes: bytesOf('x') }, { signal: control.signal });
    const closed = store.put('b', { bytes: bytesOf('x') });
    const reader = await store.open('k');
    const read = reader.read(new Uint8Array(1));
    const outcomes = Promise.allSettled([aborted, closed, read]);
    assert.equal(await Promise.race([outcomes, delay(30, 'hanging')]), 'hanging');
    control.abort(new Error('enough'));
    await assert.rejects(aborted, /enough/);
    await reader.close();
    await assert.rejects(read, ofKind('transient'));
    await store.close();
    await assert.rejects(closed, ofKind('transient'));
    assert.deepEqual(await keysOf(inner, ''), ['k']);
  });
});

test('a rule strikes only the keys it names; a delete deletes the others', async () => {
  const key = /^bad/g;
  const rules: FaultRule[] = [
    { verb: 'put', kind: 'error-before', key },
    { verb: 'delete', kind: 'error-before', key, errorKind: 'denied' },
  ];
  await withFaults({ rules }, async (store, inner) => {
    await store.put('good', { bytes: bytesOf('x') });
    for (let i = 0; i < 3; i++) await assert.rejects(store.put('bad', { bytes: bytesOf('x') }), ofKind('transient'));
    await inner.put('bad', { bytes: bytesOf('x') });
    const results = await store.delete(['bad', 'good']);
    assert.deepEqual(
      results.map(({ error }) => error?.kind),
      ['denied', undefined],
    );
    assert.deepEqual(await keysOf(inner, ''), ['bad']);
  });
});

test('faults are switched off and on, and rules replaced, at run time', async () => {
  await withFaults({ rules: [{ verb: 'put', kind: 'error-before' }], enabled: false }, async (store) => {
    await store.put('a', { bytes: bytesOf('x') });
    store.enabled = true;
    await assert.rejects(store.put('b', { bytes: bytesOf('x') }), ofKind('transient'));
    store.setRules([]);
    await store.put('c', { bytes: bytesOf('x') });
    assert.deepEqual(store.counts.put, { calls: 3, faults: 1 });
  });
});

test('chance follows the seed alone: the same calls see the same faults, whatever else is called', async () => {
  const strikes = async (seed: number, disturb: boolean): Promise<string> => {
    let pattern = '';
    const rules: FaultRule[] = [{ verb: 'put', kind: 'error-before', key: /^k/, probability: 0.3 }];
    await withFaults({ rules, seed }, async (store) => {
      for (let i = 0; i < 200; i++) {
        if (disturb) await store.put('other', { bytes: bytesOf('x') });
        pattern += await store.put('k', { bytes: bytesOf('x') }).then(
          () => '.',
          () => 'x',
        );
      }
    });
    return pattern;
  };
  const first = await strikes(1, false);
  assert.equal(await strikes(1, true), first);
  assert.notEqual(await strikes(2, false), first);
  const faults = first.split('x').length - 1;
  assert.ok(faults > 30 && faults < 90, `${faults} faults of 200 at a probability of 0.3`);
});

test('readInto reports a read that fails, and closes its reader', async () => {
  await withFaults({ rules: [{ verb: 'read', kind: 'error-before' }] }, async (store, inner) => {
    await inner.put('k', { bytes: bytesOf('x') });
    await assert.rejects(readInto(store, 'k', new Uint8Array(1)), ofKind('transient'));
    assert.deepEqual(store.counts.read, { calls: 1, faults: 1 });
  });
});

function ofKind(kind: StoreErrorKind): (error: unknown) => boolean {
  return (error) => isStoreError(error, kind);
}

async function withFaults(
  options: FaultStoreOptions,
  work: (store: FaultStore, inner: Store) => Promise<void>,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'rivulet-fault-'));
  const inner = new FileStore({ root });
  const store = new FaultStore(inner, options);
  try {
    await work(store, inner);
  } finally {
    await store.close();
    await rm(root, { recursive: true, force: true });
  }
}
