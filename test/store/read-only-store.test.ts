import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileStore } from '../../src/store/file/file-store.ts';
import { readOnly } from '../../src/store/read-only-store.ts';
import { bytesOf, keysOf, textOf } from './conformance.ts';

test('a read-only store reads what the store behind it holds', async () => {
  await withStore(async (store) => {
    await store.put('a/b', { bytes: bytesOf('hello') });
    const view = readOnly(store);
    assert.equal(view.url, store.url);
    assert.equal(await textOf(view, 'a/b'), 'hello');
    assert.deepEqual(await keysOf(view, 'a/'), ['a/b']);
    await view.close();
  });
});

test('a read-only store has nothing to write with at run time, and none can be added to it', async () => {
  await withStore(async (store) => {
    const view = readOnly(store);
    assert.deepEqual(Object.keys(view).sort(), ['close', 'list', 'open', 'url']);
    assert.equal(Reflect.get(view, 'put'), undefined);
    assert.equal(Reflect.get(view, 'delete'), undefined);
    assert.equal(Reflect.set(view, 'put', store.put), false);
    assert.equal(Object.getPrototypeOf(view), Object.prototype);
  });
});

async function withStore(work: (store: FileStore) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'rivulet-read-only-'));
  try {
    await work(new FileStore({ root }));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
