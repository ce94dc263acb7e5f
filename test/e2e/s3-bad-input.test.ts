import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { RGW, type RgwServer, s3Server } from '../servers/rgw.ts';
import { SWIFT, swiftServer } from '../servers/swift.ts';
import { RIVULET, run, runOk, workFolder } from '../support/processes.ts';
import { ScriptedServer } from '../support/scripted-server.ts';
import { usesSecret } from '../support/test-record.ts';
import { assertClearError, createDatabase, dump, insertRows, SQLITE3, skipWithout } from '../support/tools.ts';

/** What a user gets wrong, or a server: the URL and the environment that lead there. */
interface Wrong {
  readonly what: string;
  /** What the one error says, the thing to mend included. */
  readonly says: RegExp;
  arrange(
    server: RgwServer,
    bucket: string,
    t: TestContext,
  ): Promise<{ readonly url?: string; readonly env?: Readonly<Record<string, string>> }>;
}

const WRONG_SECRET = usesSecret('this-is-the-secret-of-nobody-at-all');

const CASES: readonly Wrong[] = [
  {
    what: 'an unknown access key',
    says: /the access key NOBODY is not known there.*InvalidAccessKeyId[\s\S]*Try: check access-key-id/,
    arrange: async () => ({ env: { AWS_ACCESS_KEY_ID: 'NOBODY' } }),
  },
  {
    what: 'a wrong secret',
    says: /the secret access key does not belong to .*SignatureDoesNotMatch[\s\S]*Try: check secret-access-key/,
    arrange: async () => ({ env: { AWS_SECRET_ACCESS_KEY: WRONG_SECRET } }),
  },
  {
    what: 'a secret without its key',
    says: /AWS_SECRET_ACCESS_KEY is set .* AWS_ACCESS_KEY_ID is not[\s\S]*Try: set AWS_ACCESS_KEY_ID/,
    arrange: async () => ({ env: { AWS_ACCESS_KEY_ID: '' } }),
  },
  {
    what: 'a bucket that is not there',
    says: /there is no bucket no-such-bucket at .*NoSuchBucket[\s\S]*Try: create it, or check bucket/,
    arrange: async (server) => ({ url: server.url('no-such-bucket', 'app') }),
  },
  {
    what: 'a user who may not look',
    says: /access is denied to .*AccessDenied[\s\S]*Try: allow s3:(ListBucket|GetObject|PutObject)/,
    arrange: async (server) => {
      const { accessKeyId, secretAccessKey } = await server.createUser();
      return { env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } };
    },
  },
  {
    what: 'a port where nobody listens',
    says: /127\.0\.0\.1:1 refuses the connection[\s\S]*Try: check endpoint/,
    arrange: async (server, bucket) => ({ url: server.url(bucket, 'app', 'http://127.0.0.1:1') }),
  },
  {
    what: 'TLS to a plain port',
    says: /does not speak TLS[\s\S]*Try: is it a plain port\? Then write endpoint with http:\/\//,
    arrange: async (server, bucket) => ({ url: server.url(bucket, 'app', `https://127.0.0.1:${server.port}`) }),
  },
  {
    what: 'plain HTTP to a TLS port',
    says: /Try: .*https:\/\/|Try: check endpoint/,
    arrange: async (server, bucket) => ({
      url: server.url(bucket, 'app', `http://127.0.0.1:${new URL(server.tlsEndpoint).port}`),
    }),
  },
  {
    what: 'a certificate that nobody vouches for',
    says: /certificate of .* is not signed by an authority that this machine trusts[\s\S]*Try: .*root-cas/,
    arrange: async (server, bucket) => ({ url: server.url(bucket, 'app', server.tlsEndpoint) }),
  },
  {
    what: 'a file of authorities that is not there',
    says: /the certificates of \/no\/such\/ca\.pem cannot be used[\s\S]*Try: check root-cas, AWS_CA_BUNDLE/,
    arrange: async (server, bucket) => ({
      url: server.url(bucket, 'app', server.tlsEndpoint),
      env: { AWS_CA_BUNDLE: '/no/such/ca.pem' },
    }),
  },
  {
    what: 'the page of a portal instead of a store',
    says: /answered something that is not S3 \(HTTP 404, text\/html\): "Not here"[\s\S]*Try: check endpoint/,
    arrange: async (server, bucket, t) => {
      const portal = await ScriptedServer.start(t, () => ({
        status: 404,
        headers: { 'content-type': 'text/html' },
        body: '<html><body>Not here</body></html>',
      }));
      return { url: server.url(bucket, 'app', portal.origin) };
    },
  },
];

describe('a bucket that cannot be used is one clear error, and nothing is begun', {
  skip: skipWithout(RGW, SQLITE3),
}, () => {
  for (const { what, says, arrange } of CASES) {
    test(what, async (t) => {
      const server = await s3Server();
      const bucket = await server.newBucket();
      const { url = server.url(bucket, 'app'), env = {} } = await arrange(server, bucket, t);
      const folder = workFolder(t);
      const options = { env: { ...server.env, ...env } };
      const restored = join(folder, 'restored.db');
      assertClearError(await run(t, RIVULET, ['restore', '-if-replica-exists', '-o', restored, url], options), says);
      assert.ok(!existsSync(restored), 'no database is made');

      const path = join(folder, 'app.db');
      createDatabase(path).close();
      assertClearError(await run(t, RIVULET, ['replicate', '-once', path, url], options), says);
      assertClearError(
        await run(t, RIVULET, ['replicate', '-exec', 'touch started', path, url], { ...options, cwd: folder }),
        says,
      );
      assert.ok(!existsSync(join(folder, 'started')), 'the command is not started');
    });
  }
});

test('a certificate is trusted through AWS_CA_BUNDLE', { skip: skipWithout(RGW) }, async (t) => {
  const server = await s3Server();
  const url = server.url(await server.newBucket(), 'app', server.tlsEndpoint);
  const path = join(workFolder(t), 'app.db');
  createDatabase(path).close();
  await runOk(t, RIVULET, ['replicate', '-once', path, url], { env: { ...server.env, AWS_CA_BUNDLE: server.caFile } });
});

test('a store that decides no creates is named, and all is stored and restored', {
  skip: skipWithout(SWIFT, SQLITE3),
}, async (t) => {
  const server = await swiftServer();
  const url = server.url(await server.newBucket(), 'app');
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = createDatabase(path);
  insertRows(db, 500);
  db.close();
  const log = await runOk(t, RIVULET, ['replicate', '-once', path, url], { env: server.env });
  assert.match(log, /level=WARN msg="this store cannot decide which of two writers comes first/);
  await runOk(t, RIVULET, ['restore', '-o', join(folder, 'restored.db'), url], { env: server.env });
  assert.equal(await dump(t, join(folder, 'restored.db')), await dump(t, path));
});
