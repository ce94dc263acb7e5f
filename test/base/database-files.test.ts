import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { versionOf, versionOfOpen } from '../../src/base/database-files.ts';
import { tempFolder } from '../support/temp.ts';

test('what is in a file has no name as long as one more change might not show, and another one after each', (t) => {
  const fd = openSync(join(tempFolder(t), 'file'), 'w+');
  t.after(() => closeSync(fd));
  const names = new Set<string>();
  let ms = 0;
  t.mock.method(Date, 'now', () => Number(fstatSync(fd).ctimeMs) + ms);
  for (let i = 0; i < 3; i++) {
    writeSync(fd, 'same', 0); // as long as before
    for (ms of [-5000, 0, 20]) assert.equal(versionOfOpen(fd), undefined, `${ms} ms later`);
    ms = 3000;
    const name = versionOfOpen(fd);
    assert.ok(name);
    names.add(name);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
  }
  assert.equal(names.size, 3);
});

test('a file system that counts in seconds is given seconds', (t) => {
  const fd = openSync(join(tempFolder(t), 'file'), 'w+');
  t.after(() => closeSync(fd));
  const stat = fstatSync(fd, { bigint: true });
  const seconds = Object.defineProperties(stat, { ctimeNs: { value: 5_000_000_000n }, ctimeMs: { value: 5000n } });
  let now = 5100;
  t.mock.method(Date, 'now', () => now);
  assert.equal(versionOf(seconds), undefined);
  now = 8000;
  assert.ok(versionOf(seconds));
});
