import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openBody, sendParts } from '../../src/store/s3/s3-upload.ts';
import { tempFolder } from '../support/temp.ts';

test('the parts of a file are sent from the same few pieces of memory', async (t) => {
  const file = join(tempFolder(t), 'file');
  const content = Buffer.from(Array.from({ length: 95 }, (_, i) => i));
  writeFileSync(file, content);
  const source = await openBody({ file, sizeBytes: content.length });
  const sent: Buffer[] = [];
  const memories = new Set<string>();
  await sendParts(source, { partSizeBytes: 10, concurrency: 2, signal: undefined }, async (number, bytes) => {
    sent[number - 1] = Buffer.from(bytes);
    memories.add(`${bytes.byteOffset}`);
    return `etag ${number}`;
  });
  await source.close();
  assert.deepEqual(Buffer.concat(sent), content);
  assert.ok(memories.size <= 2, `${memories.size} pieces`);
});

test('memory of which something may still be on its way is not used for another part', async (t) => {
  const file = join(tempFolder(t), 'file');
  writeFileSync(file, Buffer.alloc(100));
  const source = await openBody({ file, sizeBytes: 100 });
  const underWay = new Set<number>();
  await sendParts(source, { partSizeBytes: 10, concurrency: 4, signal: undefined }, async (number, bytes) => {
    assert.ok(!underWay.has(bytes.byteOffset), `part ${number}`);
    underWay.add(bytes.byteOffset);
    for (let turn = 0; turn < number % 4; turn++) await new Promise(setImmediate);
    underWay.delete(bytes.byteOffset);
    return 'etag';
  });
  await source.close();
});
