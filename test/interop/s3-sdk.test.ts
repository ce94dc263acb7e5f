import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { S3Store } from '../../src/store/s3/s3-store.ts';
import { readObject, type Store } from '../../src/store/store.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { RGW, s3Server } from '../servers/rgw.ts';
import type { S3Server } from '../servers/s3-server.ts';
import { SWIFT, swiftServer } from '../servers/swift.ts';
import { all, bytesOf, digestOf, keysOf, patternOf } from '../store/conformance.ts';
import { skipWithout } from '../support/tools.ts';

const PART_BYTES = 5 * 1024 * 1024;
const ODD_KEYS = ['plain', 'sp ace/x y', `q'"&<>`, 'a+b=c?d#e', 'üñí/鍵/🔑', '~/*[x]{y}'];

interface Setup {
  readonly bucket: string;
  readonly client: S3Client;
  readonly store: Store;
}

async function setUp(t: TestContext, start: () => Promise<S3Server>): Promise<Setup> {
  const server = await start();
  const bucket = await server.newBucket();
  const client = server.client();
  // Swift is not always ready at once.
  const store = new RetryingStore(new S3Store(server.location(bucket, 'app/')));
  t.after(async () => {
    client.destroy();
    await store.close();
  });
  return { bucket, client, store };
}

for (const { tool, start } of [
  { tool: RGW, start: s3Server },
  { tool: SWIFT, start: swiftServer },
]) {
  describe(`the AWS SDK beside us on ${tool.name}`, { skip: skipWithout(tool) }, () => {
    test('reads what we wrote: keys, bytes, times, also of objects in parts', async (t) => {
      const { bucket, client, store } = await setUp(t, start);
      const large = patternOf(1, 2 * PART_BYTES + 12_345);
      const timestampMs = Date.UTC(2026, 0, 2, 3, 4, 5, 60);
      for (const key of ODD_KEYS) await store.put(key, { bytes: bytesOf(key) }, { timestampMs });
      await store.put('large', { bytes: large }, { timestampMs });

      const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
      const listed = Contents?.map(({ Key }) => Key).sort();
      assert.deepEqual(listed, [...ODD_KEYS, 'large'].map((key) => `app/${key}`).sort());
      for (const key of ODD_KEYS) {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: `app/${key}` }));
        assert.equal(await Body?.transformToString(), key);
      }
      for (const key of ['plain', 'large']) {
        const { Metadata } = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: `app/${key}` }));
        assert.equal(Metadata?.['litestream-timestamp'], '2026-01-02T03:04:05.06Z', key);
      }
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: 'app/large' }));
      assert.equal(digestOf((await Body?.transformToByteArray()) ?? new Uint8Array()), digestOf(large));
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
      assert.deepEqual(Uploads, [], 'no upload is left open');
    });

    test('writes what we read, also in parts, and removes what we then do not find', async (t) => {
      const { bucket, client, store } = await setUp(t, start);
      for (const key of ODD_KEYS) {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key: `app/${key}`, Body: key }));
      }
      const large = patternOf(2, PART_BYTES + 77);
      await putInParts(client, bucket, 'app/large', large);

      assert.deepEqual((await keysOf(store, '')).sort(), [...ODD_KEYS, 'large'].sort());
      for (const key of ODD_KEYS) assert.equal(Buffer.from(await readObject(store, key, 100)).toString(), key);
      assert.equal(digestOf(await readObject(store, 'large', large.length)), digestOf(large));
      assert.equal((await all(store, 'large'))[0]?.sizeBytes, large.length);

      const gone = [...ODD_KEYS, 'large'];
      assert.deepEqual(
        await store.delete(gone),
        gone.map((key) => ({ key, error: undefined })),
      );
      assert.equal((await client.send(new ListObjectsV2Command({ Bucket: bucket }))).KeyCount, 0);
    });
  });
}

test('what the AWS SDK removes in one batch we do not list', { skip: skipWithout(RGW) }, async (t) => {
  const { bucket, client, store } = await setUp(t, s3Server);
  for (const key of ['a', 'b', 'c']) await store.put(key, { bytes: bytesOf(key) });
  const Objects = [{ Key: 'app/a' }, { Key: 'app/c' }];
  await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }));
  assert.deepEqual(await keysOf(store, ''), ['b']);
});

async function putInParts(client: S3Client, Bucket: string, Key: string, bytes: Uint8Array): Promise<void> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const Parts = [];
  for (let at = 0, PartNumber = 1; at < bytes.length; at += PART_BYTES, PartNumber++) {
    const Body = bytes.subarray(at, at + PART_BYTES);
    const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
    Parts.push({ PartNumber, ETag });
  }
  await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
}
