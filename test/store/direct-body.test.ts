import assert from 'node:assert/strict';
import { once } from 'node:events';
import * as net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as tls from 'node:tls';
import fc from 'fast-check';
import type { S3Store } from '../../src/store/s3/s3-store.ts';
import { readInto } from '../../src/store/store.ts';
import { OPENSSL, selfSigned } from '../support/certificates.ts';
import { locationOf } from '../support/fake-s3.ts';
import { assertFails } from '../support/s3-failure.ts';
import { storeAt } from '../support/s3-stores.ts';
import { skipWithout } from '../support/tools.ts';
import { patternOf } from './conformance.ts';

/*
 * Bodies of objects go past Node's HTTP client, straight into the memory of whoever reads. The server here sends exactly
 * the bytes that a test says, in exactly those pieces.
 */

const NEEDS_OPENSSL = { skip: skipWithout(OPENSSL) };
const BODY = Buffer.from(patternOf(3, 200_000));
const LENGTH = `Content-Length: ${BODY.length}`;

/**
 * What one request is answered with: each piece is sent on its own. `null`: a pause in which what came can be read;
 * `undefined` at the end: the connection is closed.
 */
type Pieces = readonly (string | Uint8Array | null | undefined)[];

interface ByteServer {
  readonly store: S3Store;
  /** Requests on each connection. */
  readonly requests: number[];
}

async function byteServer(
  t: TestContext,
  answer: (index: number) => Pieces,
  certificate?: { key: string; cert: string },
): Promise<ByteServer> {
  const requests: number[] = [];
  let count = 0;
  const onSocket = (socket: net.Socket): void => {
    const connection = requests.push(0) - 1;
    socket.setNoDelay(true).on('error', () => undefined);
    let asked = '';
    socket.on('data', (data) => {
      asked += data.toString('latin1');
      for (let end = asked.indexOf('\r\n\r\n'); end >= 0; end = asked.indexOf('\r\n\r\n')) {
        asked = asked.slice(end + 4);
        requests[connection] = (requests[connection] ?? 0) + 1;
        send(socket, answer(count++)).catch(() => socket.destroy());
      }
    });
  };
  const server = certificate ? tls.createServer(certificate, onSocket) : net.createServer(onSocket);
  return { store: await storeBefore(t, server), requests };
}

/** Starts a server, and gives a store in front of it. */
async function storeBefore(t: TestContext, server: net.Server): Promise<S3Store> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as net.AddressInfo; // it listens on a port
  const isSecure = server instanceof tls.Server;
  const endpoint = `${isSecure ? 'https' : 'http'}://127.0.0.1:${port}`;
  return storeAt(t, locationOf({ endpoint, skipVerify: isSecure }));
}

async function send(socket: net.Socket, pieces: Pieces): Promise<void> {
  for (const piece of pieces) {
    if (piece === undefined) socket.end();
    else if (piece === null) await sleep(50);
    else await new Promise((resolve) => socket.write(piece, resolve));
    // Each piece arrives by itself: the reader gets its turn before the next one is sent.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function head(lines: readonly string[] = [`Content-Length: ${BODY.length}`], status = '206 Partial Content'): string {
  const range = `Content-Range: bytes 0-${BODY.length - 1}/999999`;
  return [`HTTP/1.1 ${status}`, 'ETag: "v1"', range, ...lines, '', ''].join('\r\n');
}

/** Reads the object in reads of at most this many bytes. */
async function readBy(store: S3Store, size: number, range = { offset: 0, length: BODY.length }): Promise<Buffer> {
  const reader = await store.open('k', range);
  const parts: Buffer[] = [];
  try {
    for (;;) {
      const target = Buffer.alloc(size);
      const got = await reader.read(target);
      if (got === 0) return Buffer.concat(parts);
      parts.push(target.subarray(0, got));
    }
  } finally {
    await reader.close();
  }
}

function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map((place) => place % bytes.length), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end)).filter((piece) => piece.length > 0);
}

for (const protocol of ['plain HTTP', 'TLS']) {
  test(
    `an answer in any pieces, read in any pieces, is the object, over one connection: ${protocol}`,
    protocol === 'TLS' ? NEEDS_OPENSSL : {},
    async (t) => {
      let pieces: Pieces = [];
      const { store, requests } = await byteServer(
        t,
        () => pieces,
        protocol === 'TLS' ? selfSigned(t, 'IP:127.0.0.1') : undefined,
      );
      const answers = fc.constantFrom(
        [head(), BODY],
        [head([`content-length:${BODY.length}`]), BODY],
        [head([`CONTENT-LENGTH:\t ${BODY.length}  `, 'X-Other: "Content-Length: 7"']), BODY],
        ['HTTP/1.1 100 Continue\r\n\r\n', head(), BODY],
        ['HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n', 'HTTP/1.1 102 Processing\r\n\r\n', head(), BODY],
        [
          head(['Transfer-Encoding: chunked']),
          '7d0\r\n',
          BODY.subarray(0, 2000),
          `\r\n${(BODY.length - 2000).toString(16)}\r\n`,
          BODY.subarray(2000),
          '\r\n0\r\n\r\n',
        ],
        [head([`X-Folded: a\r\n b`, `Content-Length: ${BODY.length}`]).replace('\r\n b', ''), BODY],
      );
      const cuts = fc.array(fc.nat(), { maxLength: 12 });
      const sizes = fc.constantFrom(700, 65_536, 65_537, 134_465, 199_999, 200_000, 200_001, 500_000);
      await fc.assert(
        fc.asyncProperty(answers, cuts, sizes, async (answer, places, size) => {
          pieces = cutAt(Buffer.concat(answer.map((part) => Buffer.from(part))), places);
          assert.ok(BODY.equals(await readBy(store, size)));
        }),
        { numRuns: 200 },
      );
      assert.equal(requests.length, 1, 'every answer was read to its end, and its connection used again');
    },
  );
}

test('a read is filled, in however small pieces its bytes come', async (t) => {
  const { store } = await byteServer(t, () => [head(), ...cutAt(BODY, [100, 700, 701, 70_000, 80_000, 149_000])]);
  const reader = await store.open('k', { offset: 0, length: BODY.length });
  const target = Buffer.alloc(150_000);
  assert.equal(await reader.read(target), 150_000);
  assert.equal(await reader.read(target), 50_000);
  assert.equal(await reader.read(target), 0);
  await reader.close();
});

test('a body much larger than any buffer of the system arrives whole, beside others', async (t) => {
  const large = Buffer.from(patternOf(5, 8 * 1024 * 1024));
  const head = `HTTP/1.1 200 OK\r\nETag: "v"\r\nContent-Length: ${large.length}\r\n\r\n`;
  const { store, requests } = await byteServer(t, () => [head, large]);
  const targets = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const target = Buffer.alloc(large.length + 1);
      return target.subarray(0, await readInto(store, 'k', target));
    }),
  );
  for (const target of targets) assert.ok(large.equals(target));
  assert.equal(requests.length, 4);
});

test('what nobody reads stays with the server', async (t) => {
  const large = Buffer.alloc(20 * 1024 * 1024);
  const accepted: net.Socket[] = [];
  const server = net.createServer((socket) => {
    accepted.push(socket.on('error', () => undefined));
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nETag: "v"\r\nContent-Length: ${large.length}\r\n\r\n`);
      socket.write(large);
    });
  });
  const store = await storeBefore(t, server);
  const reader = await store.open('k');
  assert.equal(await reader.read(Buffer.alloc(10)), 10);
  await sleep(1500);
  assert.ok((accepted[0]?.writableLength ?? 0) > 0, 'the server could send it all');
  await reader.close();
});

test('an answer that ends early gives what came of it, and then fails', async (t) => {
  for (const kept of [0, 1, 3000, 70_000, 150_000, 199_999]) {
    const { store } = await byteServer(t, () => [head(), BODY.subarray(0, kept), undefined]);
    const reader = await store.open('k', { offset: 0, length: BODY.length });
    const target = Buffer.alloc(BODY.length);
    let got = 0;
    while (got < kept) got += await reader.read(target.subarray(got));
    assert.ok(BODY.subarray(0, kept).equals(target.subarray(0, got)), `${kept} bytes`);
    await assertFails(reader.read(target.subarray(got)), { kind: 'transient', says: /cannot read s3:/ });
    await reader.close();
  }
});

test('nothing is written into memory that was given for a read that was aborted', async (t) => {
  let goOn = (): void => undefined;
  const wait = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(head());
      socket.write(BODY.subarray(0, 100_000));
      void wait.then(() => socket.write(BODY.subarray(100_000)));
    });
  });
  const store = await storeBefore(t, server);
  const abort = new AbortController();
  const reader = await store.open('k', { offset: 0, length: BODY.length, signal: abort.signal });
  const target = Buffer.alloc(BODY.length);
  const reading = reader.read(target);
  while (target[99_999] !== BODY[99_999]) await new Promise((resolve) => setImmediate(resolve));
  abort.abort(new Error('enough'));
  const before = await reading.catch((error: Error) => error.message);
  assert.ok(before === 100_000 || before === 'enough', String(before));
  target.fill(0);
  goOn();
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(target.every((byte) => byte === 0));
  await assert.rejects(reader.read(target), /enough/);
  await reader.close();
});

/** Heads of which no length of a body can be believed. They are Node's to judge, and no bytes of theirs are an object's. */
const ODD_HEADS = {
  'two lengths': [LENGTH, LENGTH],
  'two lengths that differ': [LENGTH, 'Content-Length: 4000'],
  'a length with a sign': [LENGTH.replace(': ', ': +')],
  'a length of words': ['Content-Length: many'],
  'a folded line': ['X-Long: a\r\n b', LENGTH],
  'a name with a space': [LENGTH.replace(':', ' :')],
} as const;

for (const [what, lines] of Object.entries(ODD_HEADS)) {
  test(`a head with ${what} never gives another object`, async (t) => {
    const { store } = await byteServer(t, () => [head(lines), BODY, undefined]);
    const bytes = await readBy(store, 700).catch((error: Error) => error);
    if (bytes instanceof Error) assert.match(bytes.message, /cannot read s3:/);
    else assert.ok(BODY.equals(bytes));
  });
}

test('a length is nothing beside chunks', async (t) => {
  const chunks = [`${BODY.length.toString(16)}\r\n`, BODY, '\r\n0\r\n\r\n'];
  const { store } = await byteServer(t, () => [head([LENGTH, 'Transfer-Encoding: chunked']), ...chunks]);
  await assertFails(readBy(store, 700), { kind: 'permanent', says: /cannot read s3:.*does not answer in HTTP/ });
});

test('a head that does not end is refused', async (t) => {
  const endless = `HTTP/1.1 200 OK\r\n${'X-Filler: yes\r\n'.repeat(10_000)}`;
  const { store } = await byteServer(t, () => [endless, undefined]);
  await assertFails(readBy(store, 700), { kind: 'permanent', says: /cannot read s3:.*HPE_HEADER_OVERFLOW/ });
});

test('bytes after the body are nobody’s, and spoil no later answer', async (t) => {
  const rest = Buffer.concat([BODY, Buffer.from('XX')]);
  for (const pieces of [
    [Buffer.concat([Buffer.from(head()), rest])],
    [head(), null, rest.subarray(0, 9), null, rest.subarray(9)],
  ]) {
    const { store, requests } = await byteServer(t, () => pieces);
    for (let i = 0; i < 3; i++) assert.ok(BODY.equals(await readBy(store, 300_000, { offset: 0, length: 999_999 })));
    assert.ok(requests.length >= 2, 'such a connection is not used again');
  }
});
