import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ObjectReader, readInto, readObject, type Store } from '../../src/store/store.ts';
import { DEFAULT_RETRY_POLICY, type RetryNotice, type RetryPolicy } from '../../src/store/wrap/retry-policy.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { FakeS3, locationOf } from '../support/fake-s3.ts';
import { assertFails } from '../support/s3-failure.ts';
import { fakeStore, scriptedStore, storeAt } from '../support/s3-stores.ts';
import { inTurn, type ReceivedRequest, type Script, type ScriptedAnswer, s3Error } from '../support/scripted-server.ts';
import { digestOf, patternOf } from './conformance.ts';

const BYTES = Buffer.from(patternOf(1, 1000));
const AT_ONCE: Partial<RetryPolicy> = { firstPauseMs: 0, longestPauseMs: 0 };

interface ObjectAnswer extends ScriptedAnswer {
  readonly etag?: string;
}

/** An answer with the bytes of an object that were asked for. */
function range(request: ReceivedRequest, bytes: Buffer, changes: ObjectAnswer = {}): ScriptedAnswer {
  const { etag = '"v1"', ...rest } = changes;
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  if (first === undefined) return { headers: { ETag: etag }, body: bytes, ...rest };
  const start = Number(first);
  const end = last ? Math.min(Number(last) + 1, bytes.length) : bytes.length;
  const headers = { ETag: etag, 'Content-Range': `bytes ${start}-${end - 1}/${bytes.length}` };
  return { status: 206, headers, body: bytes.subarray(start, end), ...rest };
}

/** Gives so many bytes of what was asked for, and cuts the connection. */
function cutAfter(count: number, etag?: string): Script {
  return (request) => {
    const whole = range(request, BYTES, etag === undefined ? {} : { etag });
    const body = Buffer.from(whole.body ?? '');
    return { ...whole, body: body.subarray(0, count), length: body.length, ending: 'cut' };
  };
}

const whole: Script = (request) => range(request, BYTES);

async function retryingStore(t: TestContext, script: Script, notices: RetryNotice[] = []) {
  const { server, store } = await scriptedStore(t, script);
  return { server, store: new RetryingStore(store, { ...AT_ONCE, onRetry: (notice) => notices.push(notice) }) };
}

async function readAll(store: Store, options?: { offset?: number; length?: number }): Promise<Buffer> {
  const target = Buffer.alloc(2000);
  return target.subarray(0, await readInto(store, 'k', target, options));
}

async function rest(reader: ObjectReader): Promise<number> {
  let done = 0;
  for (let got = -1; got !== 0; done += got) got = await reader.read(Buffer.alloc(300));
  return done;
}

test('a body that is cut is read on from the byte it had reached, of the same version', async (t) => {
  const { server, store } = await retryingStore(t, inTurn(cutAfter(100), cutAfter(250), cutAfter(0), whole));
  assert.ok(BYTES.equals(await readAll(store)));
  const asked = server.requests.map(({ headers }) => [headers.range, headers['if-match']]);
  assert.deepEqual(asked, [
    [undefined, undefined],
    ['bytes=100-', '"v1"'],
    ['bytes=350-', '"v1"'],
    ['bytes=350-', '"v1"'],
  ]);
});

test('a range that is cut is read on to its own end, and not further', async (t) => {
  const { server, store } = await retryingStore(t, inTurn(cutAfter(10), whole));
  assert.ok(BYTES.subarray(200, 500).equals(await readAll(store, { offset: 200, length: 300 })));
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.range),
    ['bytes=200-499', 'bytes=210-499'],
  );
});

test('an object that is replaced while it is read is an error, and never a mixture of both', async (t) => {
  const refuses: Script = ({ headers }) => s3Error(headers['if-match'] === '"v1"' ? 412 : 500, 'PreconditionFailed');
  const ignores: Script = (request) => range(request, BYTES, { etag: '"v2"' });
  for (const then of [refuses, ignores]) {
    const { store } = await retryingStore(t, inTurn(cutAfter(100), then));
    await assertFails(readAll(store), {
      kind: 'permanent',
      says: /cannot read s3:\/\/test-bucket\/app\/k: it was replaced while it was read/,
    });
  }
});

test('an object that is gone when a read is to go on is an error', async (t) => {
  const { store } = await retryingStore(t, inTurn(cutAfter(100), s3Error(404, 'NoSuchKey')));
  await assertFails(readAll(store), { kind: 'not-found', says: /it is not there/ });
});

test('a weak version is not asked for, and still looked at', async (t) => {
  const { server, store } = await retryingStore(
    t,
    inTurn(cutAfter(100, 'W/"v1"'), (request) => range(request, BYTES, { etag: 'W/"v1"' })),
  );
  assert.ok(BYTES.equals(await readAll(store)));
  assert.deepEqual(
    server.requests.map(({ headers }) => headers['if-match']),
    [undefined, undefined],
  );
  const replaced = await retryingStore(
    t,
    inTurn(cutAfter(100, 'W/"v1"'), (request) => range(request, BYTES, { etag: 'W/"v2"' })),
  );
  await assertFails(readAll(replaced.store), { kind: 'permanent', says: /it was replaced/ });
});

test('bytes from another place than asked for are refused', async (t) => {
  const wrong =
    (contentRange: string | undefined): Script =>
    () => ({
      status: 206,
      headers: { ETag: '"v1"', ...(contentRange !== undefined && { 'Content-Range': contentRange }) },
      body: BYTES.subarray(0, 300),
    });
  for (const contentRange of ['bytes 0-299/1000', 'bytes 201-500/1000', 'bytes */1000', 'whatever', undefined]) {
    const { store } = await scriptedStore(t, wrong(contentRange));
    await assertFails(readAll(store, { offset: 200, length: 300 }), {
      kind: 'permanent',
      says: /gave other bytes than those asked for \(from 200 on\)/,
    });
  }
});

test('a server that does not know ranges serves a beginning, and refuses the rest clearly', async (t) => {
  const { store } = await scriptedStore(t, { headers: { ETag: '"v1"' }, body: BYTES });
  assert.ok(BYTES.subarray(0, 300).equals(await readAll(store, { length: 300 })));
  assert.ok(BYTES.equals(await readAll(store)));
  const says = /the server does not give ranges of objects/;
  await assertFails(readAll(store, { offset: 1 }), { kind: 'permanent', says });
  await assertFails(readAll(store, { offset: 200, length: 300 }), { kind: 'permanent', says });
});

test('a server that gives more of an object than asked for is not believed in that', async (t) => {
  const { store } = await scriptedStore(t, () => ({
    status: 206,
    headers: { ETag: '"v1"', 'Content-Range': 'bytes 200-999/1000' },
    body: BYTES.subarray(200),
  }));
  assert.ok(BYTES.subarray(200, 500).equals(await readAll(store, { offset: 200, length: 300 })));
});

test('an empty object has no bytes at any offset, also where the server answers 200 to that', async (t) => {
  const { store } = await scriptedStore(t, { headers: { ETag: '"v1"' }, body: '' });
  assert.equal((await readAll(store, { offset: 10, length: 5 })).length, 0);
  assert.equal((await readAll(store, { length: 5 })).length, 0);
});

test('a body without a length comes whole, and one that is cut fails', async (t) => {
  const chunked: Script = (request) => range(request, BYTES, { length: 'chunked' });
  const { store } = await scriptedStore(t, chunked);
  assert.ok(BYTES.equals(await readAll(store)));
  assert.ok(BYTES.subarray(100).equals(await readAll(store, { offset: 100 })));
  const cut: Script = (request) => range(request, BYTES, { length: 'chunked', ending: 'cut' });
  const { store: cutting } = await scriptedStore(t, cut);
  await assertFails(readAll(cutting), { kind: 'transient', says: /cut|hung up|abort/ });
  const { server, store: retrying } = await retryingStore(t, inTurn(cut, whole));
  assert.ok(BYTES.equals(await readAll(retrying)));
  assert.ok(server.requests.length <= 2);
});

test('a part of an object that only the end of the connection ends is held to its range', async (t) => {
  const head = 'HTTP/1.0 206 Partial Content\r\nETag: "v1"\r\nContent-Range: bytes 100-399/1000\r\n\r\n';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(Buffer.concat([Buffer.from(head), BYTES.subarray(100, 200)])));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  const store = storeAt(t, locationOf({ endpoint: `http://127.0.0.1:${address.port}` }));
  const says = /100 of 300 bytes came/;
  await assertFails(readAll(store, { offset: 100, length: 300 }), { kind: 'transient', says });
});

test('a Content-Length that promises more than comes is a failure, and one that promises less is not believed beyond it', async (t) => {
  const { store } = await scriptedStore(
    t,
    inTurn({ headers: { ETag: '"v1"' }, body: BYTES, length: 1001, ending: 'cut' }),
  );
  await assertFails(readAll(store), { kind: 'transient', says: /cut|hung up|abort|1000 of 1001/ });
});

test('an end that says 0 is the end: after it nothing is asked any more', async (t) => {
  const { server, store } = await retryingStore(t, whole);
  const reader = await store.open('k');
  assert.equal(await rest(reader), 1000);
  assert.equal(await reader.read(Buffer.alloc(10)), 0);
  await reader.close();
  await reader.close();
  assert.equal(server.requests.length, 1);
});

test('an object that nobody reads on for longer than the idle limit can still be read to its end', async (t) => {
  const sizes = [1, 60_000, 3 << 20];
  for (const length of [undefined, 'chunked'] as const) {
    for (const size of sizes) {
      const bytes = patternOf(size, size);
      const { store } = await scriptedStore(
        t,
        { headers: { ETag: '"v1"' }, body: bytes, length },
        {},
        { idleTimeoutMs: 150 },
      );
      const reader = await store.open('k');
      const target = Buffer.alloc(size);
      let done = await reader.read(target.subarray(0, 1));
      await new Promise((resolve) => setTimeout(resolve, 400));
      for (let got = -1; got !== 0 && done < size; done += got) got = await reader.read(target.subarray(done));
      assert.equal(digestOf(target), digestOf(bytes), `${size} bytes, ${length}`);
      assert.equal(await reader.read(Buffer.alloc(1)), 0);
      await reader.close();
    }
  }
});

test('an object that is larger than the limit of its reader is refused without reading all of it', async (t) => {
  const { store } = await scriptedStore(t, { headers: { ETag: '"v1"' }, body: BYTES });
  await assert.rejects(readObject(store, 'k', 999), /is larger than the 999 bytes expected/);
  assert.ok(BYTES.equals(await readObject(store, 'k', 1000)));
});

test('the reads of an object that was found are told apart by version, and an old one can be asked for', async (t) => {
  const fake = await FakeS3.start(t);
  const store = storeAt(t, fake.location());
  fake.store('app/k', 'one');
  const reader = await store.open('k');
  const { version } = reader;
  await reader.close();
  assert.match(version ?? '', /^"[0-9a-f]{32}"$/);
  await (await store.open('k', { version })).close();
  fake.store('app/k', 'two');
  await assertFails(store.open('k', { version }), { kind: 'permanent', says: /it was replaced/ });
});

test('many cuts in a row are survived as long as each attempt brings some bytes, and no longer', async (t) => {
  const notices: RetryNotice[] = [];
  const { store } = await retryingStore(t, cutAfter(50), notices);
  assert.ok(BYTES.equals(await readAll(store)));
  assert.equal(notices.length, 19);
  assert.ok(notices.every(({ attempt, what }) => attempt === 1 && what === 'reading s3://test-bucket/app/k'));
  const { server, store: hopeless } = await retryingStore(t, cutAfter(0));
  await assertFails(readAll(hopeless), { kind: 'transient', says: /cut|hung up|abort/ });
  assert.equal(server.requests.length, DEFAULT_RETRY_POLICY.attempts);
});

test('a real store behind a line that is cut gives the object bit for bit', async (t) => {
  const bytes = patternOf(9, 300_000);
  let cuts = 12;
  const { fake, store } = await fakeStore(t);
  fake.store('app/k', bytes);
  fake.instead = (call) => {
    if (call.operation !== 'get' || cuts-- <= 0) return undefined;
    const [, first = '0'] = /^bytes=(\d+)-/.exec(call.headers.range ?? '') ?? [];
    const { etag } = fake.objects.get('app/k') ?? assert.fail();
    const rest = Buffer.from(bytes).subarray(Number(first));
    const headers = { ETag: etag, 'Content-Range': `bytes ${first}-${bytes.length - 1}/${bytes.length}` };
    const status = call.headers.range === undefined ? 200 : 206;
    return { status, headers, body: rest.subarray(0, 20_000), length: rest.length, ending: 'cut' };
  };
  const read = await readObject(new RetryingStore(store, AT_ONCE), 'k', bytes.length);
  assert.equal(digestOf(read), digestOf(bytes));
});
