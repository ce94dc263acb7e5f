import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type Clock, FaultProxy, type FaultProxyOptions, type Faults } from './fault-proxy.ts';

const BODY = randomBytes(3_000_000);

/** A server that answers everything it was sent, when it was sent everything; and a proxy before it. */
async function echoBehindProxy(t: TestContext, faults: Faults = {}, options?: FaultProxyOptions): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const received: Buffer[] = [];
    socket.on('data', (bytes: Buffer) => received.push(bytes));
    socket.on('end', () => socket.end(Buffer.concat(received)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  const proxy = await FaultProxy.start(address.port, options);
  proxy.faults = faults;
  t.after(async () => {
    await proxy.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return proxy;
}

interface Exchange {
  readonly received: Buffer;
  readonly error: string | undefined;
}

/** Sends the bytes and takes the answer, to whatever end. */
function exchange(proxy: FaultProxy, sent: Buffer): Promise<Exchange> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    let failure: NodeJS.ErrnoException | undefined;
    const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('data', (bytes) => received.push(bytes));
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => resolve({ received: Buffer.concat(received), error: failure?.code }));
    socket.end(sent);
  });
}

/** A clock on which sleeping takes no time at all. */
class QuickClock implements Clock {
  #nowMs = 0;
  longestSleepMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  async sleep(ms: number): Promise<void> {
    this.longestSleepMs = Math.max(this.longestSleepMs, ms);
    this.#nowMs += ms;
  }
}

test('without faults every byte passes, both ways', async (t) => {
  const proxy = await echoBehindProxy(t);
  const { received, error } = await exchange(proxy, BODY);
  assert.equal(error, undefined);
  assert.ok(received.equals(BODY));
  const counted = { connections: 1, resets: 0, uploadBytes: BODY.length, downloadBytes: BODY.length };
  assert.deepEqual(proxy.counters, counted);
});

test('latency delays each way and changes no byte', async (t) => {
  const clock = new QuickClock();
  const proxy = await echoBehindProxy(t, { latencyMs: 5000 }, { clock });
  const { received } = await exchange(proxy, BODY);
  assert.ok(received.equals(BODY));
  assert.equal(clock.longestSleepMs, 5000);
  assert.ok(clock.nowMs() >= 10_000, `${clock.nowMs()} ms there and back`);
});

test('a rate makes bytes take their time', async (t) => {
  const clock = new QuickClock();
  const proxy = await echoBehindProxy(t, { bytesPerSecond: 1_000_000 }, { clock });
  const { received } = await exchange(proxy, BODY);
  assert.ok(received.equals(BODY));
  assert.equal(Math.round(clock.nowMs()), 6000);
});

test('the real clock delays too', async (t) => {
  const proxy = await echoBehindProxy(t, { latencyMs: 1, bytesPerSecond: 100_000_000 });
  assert.ok((await exchange(proxy, BODY)).received.equals(BODY));
});

test('a download is reset after as many bytes as asked for, and the next one too', async (t) => {
  const proxy = await echoBehindProxy(t, { cutDownloadAtBytes: 1000 });
  for (const connections of [1, 2]) {
    const { received, error } = await exchange(proxy, BODY);
    assert.equal(error, 'ECONNRESET');
    assert.ok(BODY.subarray(0, 1000).subarray(0, received.length).equals(received));
    assert.equal(proxy.counters.downloadBytes, connections * 1000);
    assert.equal(proxy.counters.resets, connections);
  }
});

test('a download can also end as if it were whole', async (t) => {
  const proxy = await echoBehindProxy(t, { cutDownloadAtBytes: 1000, cutBy: 'end' });
  const { received, error } = await exchange(proxy, BODY);
  assert.equal(error, undefined);
  assert.ok(received.equals(BODY.subarray(0, 1000)));
});

test('an upload is reset after as many bytes as asked for', async (t) => {
  const proxy = await echoBehindProxy(t, { cutUploadAtBytes: 100_000 });
  const { received, error } = await exchange(proxy, BODY);
  assert.match(error ?? '', /ECONNRESET|EPIPE/);
  assert.equal(received.length, 0);
  assert.equal(proxy.counters.uploadBytes, 100_000);
});

test('a black hole takes everything and answers nothing, until the connection is reset', async (t) => {
  const proxy = await echoBehindProxy(t, { blackHole: true });
  const hanging = exchange(proxy, BODY);
  const quick = new Promise((resolve) => setImmediate(resolve, 'nothing yet'));
  assert.equal(await Promise.race([hanging, quick]), 'nothing yet');
  while (proxy.counters.connections === 0) await new Promise(setImmediate);
  proxy.reset();
  assert.deepEqual(await hanging, { received: Buffer.alloc(0), error: 'ECONNRESET' });
  assert.equal(proxy.counters.uploadBytes, 0);
});

test('a connection is reset at once where it is refused', async (t) => {
  const proxy = await echoBehindProxy(t, { refuse: true });
  assert.match((await exchange(proxy, BODY)).error ?? '', /ECONNRESET|EPIPE/);
  proxy.faults = {};
  assert.ok((await exchange(proxy, BODY)).received.equals(BODY));
});

test('a proxy that is down cannot be connected to, and comes back at its port', async (t) => {
  const proxy = await echoBehindProxy(t);
  const { port } = proxy;
  await proxy.down();
  assert.equal((await exchange(proxy, BODY)).error, 'ECONNREFUSED');
  await proxy.up();
  assert.equal(proxy.port, port);
  assert.ok((await exchange(proxy, BODY)).received.equals(BODY));
});

test('a server that is not there is a reset', async () => {
  const proxy = await FaultProxy.start(1);
  assert.match((await exchange(proxy, BODY)).error ?? '', /ECONNRESET|EPIPE/);
  await proxy.close();
});
