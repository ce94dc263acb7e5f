import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { S3Location } from '../../src/config/s3-location.ts';
import type { S3StoreOptions } from '../../src/store/s3/s3-store.ts';
import type { RequestOptions, Store } from '../../src/store/store.ts';
import { type Certificate, expired, OPENSSL, selfSigned } from '../support/certificates.ts';
import { FakeS3, type FakeS3Options, locationOf } from '../support/fake-s3.ts';
import { failingLookup, toLoopback } from '../support/loopback.ts';
import { assertFails, failureOf } from '../support/s3-failure.ts';
import { fakeStore, scriptedStore, storeAt } from '../support/s3-stores.ts';
import { inTurn, type ScriptedAnswer, type ScriptedServer, XML } from '../support/scripted-server.ts';
import { tempFolder } from '../support/temp.ts';
import { skipWithout } from '../support/tools.ts';
import { bytesOf, keysOf, patternOf, textOf } from './conformance.ts';

const EMPTY_LISTING: ScriptedAnswer = {
  headers: XML,
  body: '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
};
const NEEDS_OPENSSL = { skip: skipWithout(OPENSSL) };

// ---- Nobody there ----

test('a host that no name service knows is named, with what to check', async (t) => {
  for (const [code, says] of [
    ['ENOTFOUND', /no address is known for the host s3\.nowhere\.test/],
    ['EAI_AGAIN', /the name service does not answer for s3\.nowhere\.test/],
  ] as const) {
    const store = storeAt(t, locationOf({ endpoint: 'http://s3.nowhere.test' }), { lookup: failingLookup(code) });
    await assertFails(keysOf(store, ''), { kind: 'transient', says, next: /check / });
  }
});

test('a port on which nothing listens is named, with what to check', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  server.close();
  await once(server, 'close');
  const store = storeAt(t, locationOf({ endpoint: `http://127.0.0.1:${address.port}` }));
  const says = new RegExp(`cannot list s3://test-bucket/app/: 127.0.0.1:${address.port} refuses the connection`);
  await assertFails(keysOf(store, ''), { kind: 'transient', says, next: /port/ });
});

test('a server that accepts and never answers is given up after the limit, for every verb', async (t) => {
  const { server, store } = await scriptedStore(t, () => 'hang', {}, { idleTimeoutMs: 30 });
  const says = /said nothing for 0\.0?3 s/; // deletes of many may take longer
  await assertFails(keysOf(store, ''), { kind: 'transient', says });
  await assertFails(store.open('k'), { kind: 'transient', says });
  await assertFails(store.put('k', { bytes: bytesOf('x') }), { kind: 'transient', says });
  await assertFails(store.delete(['k', 'l']), { kind: 'transient', says });
  await server.allClosed();
});

test('a server that stops in the middle of an answer is given up after the limit', async (t) => {
  const never = new Promise(() => undefined);
  const answer: ScriptedAnswer = { headers: { ETag: '"e"', ...XML }, body: 'begin', length: 1000, ending: never };
  const { store } = await scriptedStore(t, answer, {}, { idleTimeoutMs: 500 });
  const says = /said nothing for 0\.5 s/;
  await assertFails(keysOf(store, ''), { kind: 'transient', says });
  const reader = await store.open('k');
  assert.equal(await reader.read(Buffer.alloc(100)), 5);
  await assertFails(reader.read(Buffer.alloc(100)), { kind: 'transient', says });
  await reader.close();
});

test('a connection that is cut or reset before the answer is worth another try', async (t) => {
  for (const act of ['cut', 'reset'] as const) {
    const { store } = await scriptedStore(t, () => act);
    await assertFails(keysOf(store, ''), { kind: 'transient', says: /was cut|hung up/ });
  }
});

// ---- Connections that are kept ----

test('a kept connection that the server has closed costs one silent re-send, and all of the body goes again', async (t) => {
  for (const act of ['cut', 'reset'] as const) {
    const stored: ScriptedAnswer = { headers: { ETag: '"e"' } };
    const { server, store } = await scriptedStore(t, inTurn(EMPTY_LISTING, act, stored));
    await keysOf(store, '');
    let requests = 0;
    await store.put('k', { bytes: patternOf(1, 100_000) }, { onRequest: () => requests++ });
    assert.deepEqual(
      server.requests.map(({ connection }) => connection),
      [0, 0, 1],
    );
    assert.equal(Buffer.compare(server.requests[2]?.body ?? Buffer.alloc(0), patternOf(1, 100_000)), 0);
    assert.equal(requests, 2, 'both were on the wire');
  }
});

test('the re-send for a closed connection is not re-sent', async (t) => {
  const { server, store } = await scriptedStore(t, inTurn(EMPTY_LISTING, 'cut'));
  await keysOf(store, '');
  await assertFails(keysOf(store, ''), { kind: 'transient', says: /was cut|hung up/ });
  assert.equal(server.requests.length, 3);
});

test('a new connection that is cut is not re-sent by the store itself', async (t) => {
  const { server, store } = await scriptedStore(t, () => 'cut');
  await failureOf(store.put('k', { bytes: bytesOf('x') }));
  assert.equal(server.requests.length, 1);
});

test('connections that were closed while nobody used them are not noticed by anybody', async (t) => {
  const { server, store } = await scriptedStore(t, EMPTY_LISTING);
  await Promise.all([1, 2, 3, 4].map(() => keysOf(store, '')));
  server.cutConnections();
  await server.allClosed();
  await Promise.all([1, 2, 3, 4].map(() => keysOf(store, '')));
  server.cutConnections(); // this time without a moment to notice
  assert.deepEqual(await keysOf(store, ''), []);
});

test('one connection serves one request after the other, also after answers that are errors or are read to their last byte', async (t) => {
  const { fake, store } = await fakeStore(t);
  for (let i = 0; i < 3; i++) {
    await store.put('k', { bytes: patternOf(i, 200_000) });
    await textOf(store, 'k');
    await failureOf(store.open('missing'));
    await keysOf(store, '');
    await store.delete(['k']);
  }
  assert.equal(fake.server.connections, 1);
});

test('there are never more connections than allowed', async (t) => {
  const { fake, store } = await fakeStore(t, {}, {}, { maxConnections: 3 });
  await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`k${i}`, { bytes: bytesOf('x') })));
  assert.ok(fake.server.connections <= 3, String(fake.server.connections));
});

test('a closed store leaves no connection open', async (t) => {
  const { fake, store } = await fakeStore(t);
  await store.put('k', { bytes: bytesOf('x') });
  assert.equal(fake.server.openConnections, 1);
  await store.close();
  await fake.server.allClosed();
});

test('a body that is refused before it was sent is not sent to its end', async (t) => {
  const refusal = { status: 403, headers: XML, body: '<Error><Code>AccessDenied</Code></Error>' };
  const { store } = await scriptedStore(t, refusal, { partSizeBytes: 1 << 30 }, { early: true });
  let pieces = 0;
  const gate = Promise.withResolvers<void>();
  const pace = async (): Promise<void> => {
    if (++pieces === 3) await gate.promise;
  };
  await assertFails(store.put('k', { bytes: patternOf(1, 1 << 20) }, { pace }), {
    kind: 'denied',
    says: /access is denied/,
  });
  gate.resolve();
  await store.close();
  assert.ok(pieces <= 4, `${pieces} pieces`);
});

test('a sender that is held back for longer than the idle limit is not taken for a silent server', async (t) => {
  const { server, store } = await scriptedStore(t, { headers: { ETag: '"e"' } }, {}, { idleTimeoutMs: 1000 });
  const pace = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1500));
  await store.put('k', { bytes: patternOf(1, 40_000) }, { pace });
  assert.equal(server.requests[0]?.body.length, 40_000);
});

// ---- TLS ----

async function tlsStore(
  t: TestContext,
  certificate: Certificate,
  changes: Partial<S3Location> = {},
  options: S3StoreOptions & FakeS3Options = {},
): Promise<Store> {
  return (await fakeStore(t, { tls: certificate, ...options }, changes, options)).store;
}

test('https to a port that speaks plain HTTP is named as that', async (t) => {
  const fake = await FakeS3.start(t);
  const store = storeAt(t, fake.location({ endpoint: fake.server.origin.replace('http:', 'https:') }));
  await assertFails(keysOf(store, ''), { kind: 'permanent', says: /does not speak TLS/, next: /http:\/\// });
});

test('plain HTTP to a TLS port says that it may be one', NEEDS_OPENSSL, async (t) => {
  const fake = await FakeS3.start(t, { tls: selfSigned(t, 'IP:127.0.0.1') });
  const store = storeAt(t, fake.location({ endpoint: fake.server.origin.replace('https:', 'http:') }));
  await assertFails(keysOf(store, ''), { kind: 'transient', says: /was cut|hung up/, next: /TLS port.*https:\/\// });
});

test('a server that answers a plain request with TLS bytes is named as no HTTP', async (t) => {
  const alert = createServer((socket) => socket.on('error', () => undefined).end(Buffer.from('15030100020228', 'hex')));
  alert.listen(0, '127.0.0.1');
  await once(alert, 'listening');
  t.after(() => alert.close());
  const address = alert.address();
  assert.ok(typeof address === 'object' && address);
  const store = storeAt(t, locationOf({ endpoint: `http://127.0.0.1:${address.port}` }));
  await assertFails(keysOf(store, ''), {
    kind: 'permanent',
    says: /does not answer in HTTP/,
    next: /TLS port.*https:\/\//,
  });
});

test(
  'a certificate that nobody trusts is refused, and root-cas, AWS_CA_BUNDLE, SSL_CERT_FILE or skip-verify make it work',
  NEEDS_OPENSSL,
  async (t) => {
    const certificate = selfSigned(t, 'IP:127.0.0.1');
    const untrusting = await tlsStore(t, certificate);
    const says = /the certificate of 127\.0\.0\.1:\d+ is not signed by an authority that this machine trusts/;
    await assertFails(keysOf(untrusting, ''), { kind: 'permanent', says, next: /root-cas/ });
    const trusting = [
      await tlsStore(t, certificate, { rootCas: [certificate.file] }),
      await tlsStore(t, certificate, { skipVerify: true }),
      await tlsStore(t, certificate, {}, { env: { AWS_CA_BUNDLE: certificate.file } }),
      await tlsStore(t, certificate, {}, { env: { SSL_CERT_FILE: certificate.file } }),
    ];
    for (const store of trusting) {
      await store.put('k', { bytes: patternOf(1, 100_000) });
      assert.deepEqual(await keysOf(store, ''), ['k']);
    }
  },
);

test('another authority that is trusted does not make this one trusted', NEEDS_OPENSSL, async (t) => {
  const other = selfSigned(t, 'IP:127.0.0.1');
  const store = await tlsStore(t, selfSigned(t, 'IP:127.0.0.1'), { rootCas: [other.file] });
  await assertFails(keysOf(store, ''), { kind: 'permanent', says: /the certificate of|no TLS connection with/ });
});

test(
  'a certificate that has expired is refused as that, also when its authority is trusted',
  NEEDS_OPENSSL,
  async (t) => {
    const certificate = expired(t);
    const store = await tlsStore(t, certificate, { rootCas: [certificate.file] });
    await assertFails(keysOf(store, ''), { kind: 'permanent', says: /has expired/, next: /clock/ });
  },
);

test('a certificate for another name is refused as that', NEEDS_OPENSSL, async (t) => {
  const certificate = selfSigned(t, 'DNS:s3.other.test');
  const store = await tlsStore(t, certificate, { rootCas: [certificate.file] });
  await assertFails(keysOf(store, ''), {
    kind: 'permanent',
    says: /made out to another name/,
    next: /force-path-style/,
  });
  const options = { hostSuffix: 'other.test', hostLabel: 's3', lookup: toLoopback };
  const named = await tlsStore(t, certificate, { rootCas: [certificate.file], bucket: 's3' }, options);
  assert.deepEqual(await keysOf(named, ''), []);
});

test(
  'a file of certificates that cannot be used is an error, and nothing is sent without it',
  NEEDS_OPENSSL,
  async (t) => {
    const folder = tempFolder(t);
    const certificate = selfSigned(t, 'IP:127.0.0.1');
    const files = {
      absent: join(folder, 'absent.pem'),
      key: join(folder, 'key.pem'),
      spoiled: join(folder, 'spoiled.pem'),
    };
    writeFileSync(files.key, 'no certificate');
    writeFileSync(files.spoiled, certificate.cert.replace(/\n[A-Za-z0-9+/]{10}/, '\n!!!!!!!!!!'));
    for (const file of Object.values(files)) {
      const { fake, store } = await fakeStore(t, { tls: certificate }, { rootCas: [certificate.file, file] });
      const error = await assertFails(keysOf(store, ''), {
        kind: 'permanent',
        says: /^the certificates of .* cannot be used/,
        next: /root-cas/,
      });
      assert.ok(error.message.includes(file));
      assert.equal(fake.server.connections, 0);
    }
  },
);

// ---- Aborts ----

/** A call that a server does not let go on: resolves when the call has got there. */
interface Stage {
  readonly name: string;
  readonly start: (t: TestContext) => Promise<{ server: ScriptedServer; store: Store; reached: Promise<unknown> }>;
  readonly call: (store: Store, options: RequestOptions) => Promise<unknown>;
}

const put = (store: Store, options: RequestOptions): Promise<unknown> =>
  store.put('k', { bytes: patternOf(1, 3000) }, options);
const create = (store: Store, options: RequestOptions): Promise<unknown> =>
  store.put('k', { bytes: patternOf(1, 3000) }, { ...options, ifAbsent: true });

function hangsAt(operation: string, changes: Partial<S3Location> = {}, options: FakeS3Options = {}): Stage['start'] {
  return async (t) => {
    const reached = Promise.withResolvers<void>();
    const instead: FakeS3Options['instead'] = (call) => {
      if (call.operation !== operation) return undefined;
      reached.resolve();
      return 'hang';
    };
    const { fake, store } = await fakeStore(t, { minPartBytes: 1, ...options, instead }, changes);
    return { server: fake.server, store, reached: reached.promise };
  };
}

const IN_PARTS = { partSizeBytes: 1000 };

const STAGES: readonly Stage[] = [
  { name: 'a listing', start: hangsAt('list'), call: (store, { signal }) => keysOf(store, '', undefined, signal) },
  { name: 'an open', start: hangsAt('get'), call: (store, options) => store.open('k', options) },
  { name: 'a put', start: hangsAt('put'), call: put },
  { name: 'a delete', start: hangsAt('delete-many'), call: (store, options) => store.delete(['k', 'l'], options) },
  {
    name: 'a delete of a single key',
    start: hangsAt('delete', {}, { batchDelete: 'missing' }),
    call: (store, options) => store.delete(['k'], options),
  },
  { name: 'the probe of a create', start: hangsAt('put'), call: create },
  { name: 'the look before a create', start: hangsAt('head', {}, { conditionalWrites: 'refused' }), call: create },
  { name: 'the sweep before an upload', start: hangsAt('list-uploads', IN_PARTS), call: put },
  { name: 'the begin of an upload', start: hangsAt('create-upload', IN_PARTS), call: put },
  { name: 'a part of an upload', start: hangsAt('put-part', IN_PARTS), call: put },
  { name: 'the end of an upload', start: hangsAt('complete-upload', IN_PARTS), call: put },
];

for (const { name, start, call } of STAGES) {
  test(`an abort during ${name} ends it with the signal's reason, and leaves no listener and no connection in use`, async (t) => {
    const { server, store, reached } = await start(t);
    const control = new AbortController();
    const reason = new Error('enough');
    const calling = failureOf(call(store, { signal: control.signal }));
    await reached;
    control.abort(reason);
    assert.equal(await calling, reason);
    assert.equal(getEventListeners(control.signal, 'abort').length, 0);
    await store.close();
    await server.allClosed();
  });
}

test('an abort while credentials are looked for ends the call at once, and nothing is sent', async (t) => {
  const never = new Promise<never>(() => undefined);
  const { server, store } = await scriptedStore(t, EMPTY_LISTING, {}, { credentials: () => never });
  const control = new AbortController();
  const reason = new Error('enough');
  const calling = failureOf(keysOf(store, '', undefined, control.signal));
  control.abort(reason);
  assert.equal(await calling, reason);
  assert.equal(getEventListeners(control.signal, 'abort').length, 0);
  assert.equal(server.requests.length, 0);
});

test('an abort while a call waits for a free connection ends it, and the connection stays good for others', async (t) => {
  const gate = Promise.withResolvers<ScriptedAnswer>();
  const { server, store } = await scriptedStore(
    t,
    inTurn(() => gate.promise, EMPTY_LISTING),
    {},
    { maxConnections: 1 },
  );
  const first = keysOf(store, '');
  await server.received(1);
  const control = new AbortController();
  const second = failureOf(keysOf(store, '', undefined, control.signal));
  const third = keysOf(store, '');
  control.abort(new Error('enough'));
  assert.equal(await second, control.signal.reason);
  gate.resolve(EMPTY_LISTING);
  assert.deepEqual([await first, await third], [[], []]);
  assert.equal(server.requests.length, 2);
});

test('calls that succeed or fail leave no listener on a signal that lives on', async (t) => {
  const { store } = await fakeStore(t, { minPartBytes: 1 }, IN_PARTS);
  const { signal } = new AbortController();
  await store.put('small', { bytes: bytesOf('x') }, { signal, ifAbsent: true });
  await put(store, { signal });
  await keysOf(store, '', undefined, signal);
  await failureOf(store.open('missing', { signal }));
  const whole = await store.open('small', { signal });
  while ((await whole.read(Buffer.alloc(10))) > 0);
  await whole.close();
  const early = await store.open('k', { signal });
  await early.close();
  await store.delete(['k'], { signal });
  await new Promise((resolve) => setImmediate(resolve)); // a destroyed answer tells of its end in the next turn
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('of two creators that wait for the same probe, the abort of one is not the end of the other', async (t) => {
  const reached = Promise.withResolvers<void>();
  let probes = 0;
  const instead: FakeS3Options['instead'] = ({ key }) => {
    if (!key.includes('probe') || ++probes > 1) return undefined;
    reached.resolve();
    return 'hang';
  };
  const { fake, store } = await fakeStore(t, { instead });
  const control = new AbortController();
  const first = failureOf(store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true, signal: control.signal }));
  const second = store.put('b', { bytes: bytesOf('x') }, { ifAbsent: true });
  await reached.promise;
  control.abort(new Error('enough'));
  assert.equal(await first, control.signal.reason);
  await second;
  assert.deepEqual([...fake.objects.keys()], ['app/b']);
});
