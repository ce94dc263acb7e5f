import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { RGW, RgwServer, s3Server, startRgw } from '../servers/rgw.ts';
import type { Credentials } from '../servers/s3-server.ts';
import { undoAfter } from '../support/processes.ts';
import { usesSecret } from '../support/test-record.ts';
import { assertClearError, assertNoInsides, skipWithout, UNSHARE } from '../support/tools.ts';
import { EXAMPLE, FASTAPI, FASTAPI_APPLICATION, Machine, NODE_APPLICATION, s3ExampleCom } from './quadtask-machine.ts';

/** The one of the example's configuration; because of this name, each test has a gateway of its own. */
const BUCKET = 'litestream';

async function gatewayWithBucket(t: TestContext): Promise<RgwServer> {
  const { access, stop } = await startRgw();
  undoAfter(t, stop);
  const server = new RgwServer(access);
  await server.createBucket(BUCKET);
  return server;
}

/** Everything there is to know about the objects of a prefix, by key. */
async function objectsBelow(server: RgwServer, prefix: string): Promise<Map<string, string>> {
  const client = server.client();
  try {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
    const objects = new Map<string, string>();
    for (const { Key = '', ETag, LastModified } of Contents) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
      const hash = createHash('sha256').update((await Body?.transformToByteArray()) ?? '');
      objects.set(Key, `sha256 ${hash.digest('hex')} ${ETag} ${LastModified?.toISOString()}`);
    }
    return objects;
  } finally {
    client.destroy();
  }
}

for (const { runner, skip } of [
  { runner: NODE_APPLICATION, skip: skipWithout(RGW, UNSHARE) },
  { runner: FASTAPI_APPLICATION, skip: skipWithout(RGW, UNSHARE, FASTAPI) },
]) {
  test(`production and a laptop share a bucket, and only production writes production's (${runner.name})`, {
    skip,
  }, async (t) => {
    const server = await gatewayWithBucket(t);
    const { address: s3Address } = await s3ExampleCom(t, server);
    const newMachine = (): Machine => new Machine(t, { server, s3Address, runner });

    // The very first start: an empty bucket is no error.
    const first = newMachine();
    const firstRun = await first.startApplication('prod');
    assert.match(firstRun.output, /No database found, restoring from replica/);
    assert.match(firstRun.output, /no backup yet/);
    await first.addTask('plan');
    await first.addTask('write');
    assert.equal((await firstRun.end('SIGTERM')).status, 0, firstRun.output);
    assertNoInsides(firstRun.output);

    // The next container has no volume, and everything up to the last commit.
    const second = newMachine();
    const secondRun = await second.startApplication('prod');
    assert.deepEqual(await second.tasks(), ['plan', 'write']);
    await second.addTask('publish');
    assert.equal((await secondRun.end('SIGTERM')).status, 0, secondRun.output);

    // A laptop gets production's rows and writes its own, elsewhere.
    const production = await objectsBelow(server, 'quadtask-prod/');
    assert.ok(production.size > 0);
    const laptop = newMachine();
    const laptopRun = await laptop.startApplication('local');
    assert.deepEqual(await laptop.tasks(), ['plan', 'write', 'publish']);
    await laptop.addTask('try something');
    assert.equal((await laptopRun.end('SIGTERM')).status, 0, laptopRun.output);
    assert.deepEqual(await objectsBelow(server, 'quadtask-prod/'), production);
    const local = await objectsBelow(server, 'quadtask-local/');
    assert.ok(local.size > 0);
    assert.equal((await objectsBelow(server, '')).size, production.size + local.size, 'and nothing anywhere else');

    // Its database stays where it is; production never hears of it.
    const laptopAgain = await laptop.startApplication('local');
    assert.match(laptopAgain.output, /Database already exists, skipping restore/);
    assert.deepEqual(await laptop.tasks(), ['plan', 'write', 'publish', 'try something']);
    assert.equal((await laptopAgain.end('SIGTERM')).status, 0, laptopAgain.output);
    const third = newMachine();
    const thirdRun = await third.startApplication('prod');
    assert.deepEqual(await third.tasks(), ['plan', 'write', 'publish']);
    assert.equal((await thirdRun.end('SIGTERM')).status, 0, thirdRun.output);
  });
}

interface Circumstances {
  readonly credentials?: Credentials;
  readonly bucket?: string;
  readonly isDown?: boolean;
}

interface Mistake {
  readonly wrong: string;
  readonly message: RegExp;
  arrange(server: RgwServer): Circumstances;
}

describe('where the replica cannot be looked up, the application is not started on an empty database', {
  skip: skipWithout(RGW, UNSHARE),
  concurrency: 2,
}, () => {
  const SECRET = usesSecret('not-the-secret-of-anybody');

  for (const { wrong, message, arrange } of [
    {
      wrong: 'a wrong secret',
      message: /secret/,
      arrange: (server: RgwServer) => ({ credentials: { ...server, secretAccessKey: SECRET } }),
    },
    {
      wrong: 'an unknown access key',
      message: /access key/,
      arrange: (server: RgwServer) => ({ credentials: { ...server, accessKeyId: 'NOBODY' } }),
    },
    { wrong: 'a wrong bucket', message: /no-such-bucket/, arrange: () => ({ bucket: 'no-such-bucket' }) },
    {
      wrong: 'a server that is down',
      message: /s3\.example\.com refuses the connection/,
      arrange: () => ({ isDown: true }),
    },
  ] satisfies readonly Mistake[]) {
    test(wrong, async (t) => {
      const server = await s3Server();
      const { credentials, bucket, isDown }: Circumstances = arrange(server);
      const { address: s3Address, proxy } = await s3ExampleCom(t, server);
      const machine = new Machine(t, { server, s3Address, runner: NODE_APPLICATION });
      machine.editConfig(`bucket: ${BUCKET}`, `bucket: ${bucket ?? (await server.newBucket())}`);
      if (isDown) await proxy.down();
      const ended = await machine.start('prod', credentials).ended;
      assertClearError(ended, message);
      assert.doesNotMatch(ended.stdout + ended.stderr, new RegExp(SECRET));
      assert.equal(machine.wasApplicationStarted, false);
      assert.deepEqual(readdirSync(machine.data), [], 'no database was made');
    });
  }
});

test('the entrypoint of the Node application differs in its command only', () => {
  const linesOf = (name: string): string[] => readFileSync(join(EXAMPLE, name), 'utf8').split('\n');
  const command = 'exec litestream replicate -exec "node app-node/server.mjs --host 0.0.0.0 --port 8000"';
  const expected = linesOf('entrypoint.sh').map((line) => (line.startsWith('exec ') ? command : line));
  assert.deepEqual(linesOf('entrypoint-node.sh'), expected);
});
