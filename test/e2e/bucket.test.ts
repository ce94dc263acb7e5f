import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { PutBucketPolicyCommand } from '@aws-sdk/client-s3';
import { KMS_KEY_ID, RGW, type RgwServer, s3Server } from '../servers/rgw.ts';
import type { Credentials } from '../servers/s3-server.ts';
import { RIVULET, run, runOk, workFolder } from '../support/processes.ts';
import { usesSecret } from '../support/test-record.ts';
import {
  assertClearError,
  assertNoInsides,
  createDatabase,
  dump,
  freshPath,
  insertRows,
  SQLITE3,
  skipWithout,
  UNSHARE,
} from '../support/tools.ts';

/** A database, and a configuration that has it replicated to a new bucket with these keys. */
async function setUp(t: TestContext, keys: Readonly<Record<string, string>>) {
  const server = await s3Server();
  const bucket = await server.newBucket();
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = createDatabase(path);
  insertRows(db, 100, 100_000); // an image larger than a part
  db.close();
  const configWith = (settings: Readonly<Record<string, string>>): string => {
    const config = freshPath(folder).replace(/db$/, 'yml');
    const all = { type: 's3', bucket, path: 'app', endpoint: server.endpoint, region: server.region, ...settings };
    const lines = Object.entries(all).map(([key, value]) => `      ${key}: ${JSON.stringify(value)}\n`);
    writeFileSync(config, `dbs:\n  - path: ${path}\n    replica:\n${lines.join('')}`);
    return config;
  };
  return { server, bucket, folder, path, config: configWith(keys), configWith };
}

describe('a bucket', { skip: skipWithout(RGW, SQLITE3) }, () => {
  const customerKey = usesSecret(randomBytes(32).toString('base64'));
  for (const { encryption, keys } of [
    { encryption: 'a key of the customer', keys: { 'sse-customer-key': customerKey } },
    { encryption: "a key of the store's key management", keys: { 'sse-kms-key-id': KMS_KEY_ID } },
  ]) {
    test(`that encrypts with ${encryption} is written and restored over TLS`, async (t) => {
      const { tlsEndpoint, caFile } = await s3Server();
      const tls = { endpoint: tlsEndpoint, 'root-cas': caFile };
      const { server, folder, path, config, configWith } = await setUp(t, { ...keys, ...tls });
      const { env } = server;
      const restored = freshPath(folder);
      await runOk(t, RIVULET, ['config', 'check', '-config', config], { env });
      await runOk(t, RIVULET, ['replicate', '-once', '-log-level', 'trace', '-config', config], { env });
      await runOk(t, RIVULET, ['restore', '-config', config, '-o', restored, path], { env });
      assert.equal(await dump(t, restored), await dump(t, path));

      if (!('sse-customer-key' in keys)) return;
      const other = usesSecret(randomBytes(32).toString('base64'));
      for (const wrong of [{}, { 'sse-customer-key': other }]) {
        const args = ['restore', '-config', configWith({ ...tls, ...wrong }), '-if-replica-exists', '-o'];
        const refused = await run(t, RIVULET, [...args, freshPath(folder), path], {
          env: { ...env, RIVULET_DEBUG: '1' },
        });
        assert.equal(refused.status, 1);
        assert.match(refused.stderr, /^Error: cannot read .*\nTry: .*sse-/);
      }
    });
  }

  test('in the host name is found there', { skip: skipWithout(UNSHARE) }, async (t) => {
    const { server, bucket, folder, path, configWith } = await setUp(t, {});
    const hosts = join(folder, 'hosts');
    writeFileSync(hosts, `127.0.0.1 localhost ${bucket}.localhost\n`);
    const config = configWith({
      endpoint: `http://localhost:${server.port}`,
      'force-path-style': 'false',
    });
    const restored = freshPath(folder);
    const script = `mount --bind "$1" /etc/hosts && "$2" replicate -once -config "$3" && "$2" restore -config "$3" -o "$4" "$5"`;
    const args = ['-m', 'sh', '-c', script, 'sh', hosts, RIVULET, config, restored, path];
    await runOk(t, 'unshare', args, { env: server.env });
    assert.equal(await dump(t, restored), await dump(t, path));
    const inPath = freshPath(folder);
    await runOk(t, RIVULET, ['restore', '-config', configWith({}), '-o', inPath, path], { env: server.env });
    assert.equal(await dump(t, inPath), await dump(t, path));
  });

  test('is opened with the credentials of LITESTREAM_*, and of a profile', async (t) => {
    const { server, folder, config, path } = await setUp(t, {});
    const { accessKeyId, secretAccessKey } = server;
    const credentials = join(folder, 'credentials');
    writeFileSync(
      credentials,
      `[staging]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`,
    );
    const ofLitestream = { LITESTREAM_ACCESS_KEY_ID: accessKeyId, LITESTREAM_SECRET_ACCESS_KEY: secretAccessKey };
    const ofProfile = { AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_PROFILE: 'staging' };
    await runOk(t, RIVULET, ['replicate', '-once', '-config', config], { env: ofLitestream });
    assert.match(await runOk(t, RIVULET, ['ltx', '-config', config, path], { env: ofProfile }), /0000000000000001/);
    const none = { ...ofProfile, AWS_PROFILE: 'other', AWS_EC2_METADATA_DISABLED: 'true' };
    const refused = await run(t, RIVULET, ['ltx', '-config', config, path], { env: none });
    assertClearError(refused, /no credentials for S3 \(AWS_PROFILE is other\)/);
  });
});

describe('config check names the permission that is missing', { skip: skipWithout(RGW) }, () => {
  const ALL = ['s3:ListBucket', 's3:PutObject', 's3:GetObject', 's3:DeleteObject'] as const;
  for (const [denied, step] of [
    ['s3:ListBucket', 'list'],
    ['s3:PutObject', 'write'],
    ['s3:GetObject', 'read'],
    ['s3:DeleteObject', 'delete'],
  ] as const) {
    test(denied, async (t) => {
      const { server, bucket, config } = await setUp(t, {});
      const user = await server.createUser();
      await denyTo(server, bucket, user.id, denied, ALL);
      const { status, stdout, stderr } = await run(t, RIVULET, ['config', 'check', '-config', config], {
        env: environmentOf(user),
      });
      assert.equal(status, 1, stdout + stderr);
      assert.deepEqual(stdout.match(/^ {2}.* failed.*$/gm), [`  ${step.padEnd(18)} failed (needs ${denied})`]);
      assert.match(stderr, new RegExp(`^Error: cannot .*access is denied to ${user.accessKeyId}`));
      assert.match(stderr, new RegExp(`^Try: allow ${denied} for it`, 'm'));
      assertNoInsides(stdout + stderr);
    });
  }
});

function environmentOf({ accessKeyId, secretAccessKey }: Credentials): Readonly<Record<string, string>> {
  return { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
}

/** Denied by name: who wrote an object may read it otherwise. */
async function denyTo(
  server: RgwServer,
  bucket: string,
  userId: string,
  denied: string,
  all: readonly string[],
): Promise<void> {
  const of = {
    Principal: { AWS: [`arn:aws:iam:::user/${userId}`] },
    Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
  };
  const Statement = [
    { Effect: 'Allow', ...of, Action: all.filter((action) => action !== denied) },
    { Effect: 'Deny', ...of, Action: [denied] },
  ];
  const client = server.client();
  try {
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
    await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }));
  } finally {
    client.destroy();
  }
}
