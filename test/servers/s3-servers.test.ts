import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { describe, type TestContext, test } from 'node:test';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { skipWithout } from '../support/tools.ts';
import { RGW, s3Server } from './rgw.ts';
import type { Credentials, S3Server } from './s3-server.ts';
import { SWIFT, swiftServer } from './swift.ts';

/** The name of the error that a request is answered with; undefined for a success. */
async function refusal(request: Promise<unknown>): Promise<string | undefined> {
  return request.then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  );
}

function clientOf(t: TestContext, server: S3Server, credentials?: Credentials): S3Client {
  const client = server.client(credentials);
  t.after(() => client.destroy());
  return client;
}

for (const { tool, start } of [
  { tool: RGW, start: s3Server },
  { tool: SWIFT, start: swiftServer },
]) {
  describe(tool.name, { skip: skipWithout(tool) }, () => {
    test('keeps objects in buckets of its users', async (t) => {
      const server = await start();
      const client = clientOf(t, server);
      const Bucket = await server.newBucket();
      await client.send(new PutObjectCommand({ Bucket, Key: 'a/b', Body: 'content' }));
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: 'a/b' }));
      assert.equal(await Body?.transformToString(), 'content');
      const { Contents } = await client.send(new ListObjectsV2Command({ Bucket }));
      assert.deepEqual(
        Contents?.map(({ Key }) => Key),
        ['a/b'],
      );
      const others = await client.send(new ListObjectsV2Command({ Bucket: await server.newBucket() }));
      assert.equal(others.KeyCount, 0);
    });

    test('checks signatures', async (t) => {
      const server = await start();
      const Bucket = await server.newBucket();
      const wrongSecret = clientOf(t, server, { ...server, secretAccessKey: 'wrong' });
      const unknownKey = clientOf(t, server, { ...server, accessKeyId: 'nobody' });
      const put = new PutObjectCommand({ Bucket, Key: 'a', Body: 'content' });
      assert.equal(await refusal(wrongSecret.send(put)), 'SignatureDoesNotMatch');
      assert.match((await refusal(unknownKey.send(put))) ?? '', /^(InvalidAccessKeyId|SignatureDoesNotMatch)$/);
    });

    test('keeps conditions of writes, or refuses them', async (t) => {
      const server = await start();
      const client = clientOf(t, server);
      const Bucket = await server.newBucket();
      const create = (): Promise<unknown> =>
        client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'content', IfNoneMatch: '*' }));
      const answers = [await refusal(create()), await refusal(create())];
      const expected = server.conditionalWrites ? [undefined, 'PreconditionFailed'] : Array(2).fill('NotImplemented');
      assert.deepEqual(answers, expected);
    });
  });
}

describe(`more of ${RGW.name}`, { skip: skipWithout(RGW) }, () => {
  test('a user may do what was granted, and nothing else', async (t) => {
    const server = await s3Server();
    const owner = clientOf(t, server);
    const Bucket = await server.newBucket();
    await owner.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'content' }));
    const user = await server.createUser();
    const client = clientOf(t, server, user);
    const list = new ListObjectsV2Command({ Bucket });
    assert.equal(await refusal(client.send(list)), 'AccessDenied');
    await server.grant(Bucket, user, ['s3:GetObject', 's3:ListBucket']);
    assert.equal((await client.send(list)).KeyCount, 1);
    assert.equal(await refusal(client.send(new GetObjectCommand({ Bucket, Key: 'a' }))), undefined);
    const put = new PutObjectCommand({ Bucket, Key: 'b', Body: 'content' });
    assert.equal(await refusal(client.send(put)), 'AccessDenied');
    assert.equal(await refusal(client.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))), 'AccessDenied');
  });

  for (const host of ['localhost', 's3.example.com', 'bucket.s3.example.com']) {
    test(`speaks TLS as ${host} to those who trust its certificate`, async () => {
      const { tlsEndpoint, caFile } = await s3Server();
      const ask = (ca?: Buffer): Promise<number | undefined> =>
        new Promise((resolve, reject) => {
          const headers = { host };
          const request = get(tlsEndpoint, { servername: host, headers, ...(ca && { ca }) }, (answer) => {
            answer.resume().once('end', () => resolve(answer.statusCode));
          });
          request.once('error', reject);
        });
      const status = await ask(readFileSync(caFile));
      assert.ok(status === 200 || status === 404, `status ${status}`);
      await assert.rejects(ask(), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    });
  }
});
