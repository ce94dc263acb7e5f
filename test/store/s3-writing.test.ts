import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Secret } from '../../src/base/secret.ts';
import { partSizeFor } from '../../src/store/s3/s3-upload.ts';
import type { RetryNotice, RetryPolicy } from '../../src/store/wrap/retry-policy.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import type { FakeS3, FakeS3Options, Operation, S3Call } from '../support/fake-s3.ts';
import { eventually } from '../support/processes.ts';
import { assertFails, failureOf, SECRETS } from '../support/s3-failure.ts';
import { fakeStore, scriptedStore, storeAt } from '../support/s3-stores.ts';
import { HTML, s3Error, XML } from '../support/scripted-server.ts';
import { tempFolder } from '../support/temp.ts';
import { bytesOf, keysOf, patternOf, textOf } from './conformance.ts';

const RETRIES: RetryPolicy = { attempts: 4, firstPauseMs: 0, longestPauseMs: 0, longestRetryAfterMs: 1000 };
const IN_PARTS = { partSizeBytes: 1000 };
const SMALL_PARTS = { minPartBytes: 1 };
const LARGE = patternOf(1, 3500);
const DAY_MS = 24 * 60 * 60_000;

const ofOperation = (fake: FakeS3, operation: Operation): S3Call[] =>
  fake.calls.filter((call) => call.operation === operation);

// ---- What goes with an object ----

test('the time of the data goes with an object as Litestream writes it', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS);
  const times: Readonly<Record<string, string>> = {
    '2024-01-02T03:04:05.678Z': '2024-01-02T03:04:05.678Z',
    '2024-01-02T03:04:05.670Z': '2024-01-02T03:04:05.67Z',
    '2024-01-02T03:04:05.600Z': '2024-01-02T03:04:05.6Z',
    '2024-01-02T03:04:50.000Z': '2024-01-02T03:04:50Z',
    '2024-01-02T03:04:00.000Z': '2024-01-02T03:04:00Z',
    '1970-01-01T00:00:00.000Z': '1970-01-01T00:00:00Z',
  };
  for (const [time, written] of Object.entries(times)) {
    for (const bytes of [bytesOf('x'), LARGE]) {
      await store.put('k', { bytes }, { timestampMs: Date.parse(time) });
      assert.equal(fake.objects.get('app/k')?.headers['x-amz-meta-litestream-timestamp'], written);
    }
  }
  await store.put('k', { bytes: bytesOf('x') });
  assert.equal(fake.objects.get('app/k')?.headers['x-amz-meta-litestream-timestamp'], undefined);
});

test('the storage class goes with what makes an object, and with nothing else', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, { ...IN_PARTS, storageClass: 'STANDARD_IA' });
  await store.put('small', { bytes: bytesOf('x') }, { ifAbsent: true });
  await store.put('large', { bytes: LARGE });
  await textOf(store, 'small');
  await store.delete(['small']);
  const withClass = fake.calls.filter(({ headers }) => headers['x-amz-storage-class'] !== undefined);
  assert.ok(withClass.every(({ headers }) => headers['x-amz-storage-class'] === 'STANDARD_IA'));
  assert.deepEqual([...new Set(withClass.map(({ operation }) => operation))], ['put', 'create-upload']);
});

test('a key that the store manages is named when an object is made, and never when it is read', async (t) => {
  const encryption = { kind: 'kms', keyId: 'arn:aws:kms:eu-test-1:1:key/k' } as const;
  const { fake, store } = await fakeStore(
    t,
    { ...SMALL_PARTS, conditionalWrites: 'refused' },
    { ...IN_PARTS, encryption },
  );
  await store.put('small', { bytes: bytesOf('x') }, { ifAbsent: true });
  await store.put('large', { bytes: LARGE }, { ifAbsent: true });
  assert.equal(await textOf(store, 'small'), 'x');
  const encrypted = fake.calls.filter(({ headers }) => headers['x-amz-server-side-encryption'] !== undefined);
  assert.deepEqual([...new Set(encrypted.map(({ operation }) => operation))], ['put', 'create-upload']);
  for (const { headers } of encrypted) {
    assert.equal(headers['x-amz-server-side-encryption'], 'aws:kms');
    assert.equal(headers['x-amz-server-side-encryption-aws-kms-key-id'], encryption.keyId);
  }
});

test("a key of the customer's goes with everything that touches the bytes, and with nothing else", async (t) => {
  const encryption = { kind: 'customer-key', algorithm: 'AES256', key: new Secret(SECRETS.customerKey) } as const;
  const { fake, store } = await fakeStore(
    t,
    { ...SMALL_PARTS, conditionalWrites: 'refused' },
    { ...IN_PARTS, encryption },
  );
  await store.put('small', { bytes: bytesOf('x') }, { ifAbsent: true });
  await store.put('large', { bytes: LARGE }, { ifAbsent: true });
  await textOf(store, 'large');
  await failureOf(store.put('large', { bytes: LARGE }, { ifAbsent: true }));
  await keysOf(store, '');
  await store.delete(['small', 'large']);
  const withKey = (call: S3Call): boolean =>
    call.headers['x-amz-server-side-encryption-customer-key'] === SECRETS.customerKey;
  const bytesTouched = ['put', 'get', 'head', 'create-upload', 'put-part', 'complete-upload'];
  for (const call of fake.calls) assert.equal(withKey(call), bytesTouched.includes(call.operation), call.operation);
  assert.deepEqual(
    bytesTouched.filter((operation) => !fake.calls.some((call) => call.operation === operation)),
    [],
  );
});

test("an object of another customer's key, or of one, cannot be read, and the key is not shown", async (t) => {
  const { fake, store } = await fakeStore(t);
  fake.store('app/k', 'x', { 'x-amz-server-side-encryption-customer-key': SECRETS.customerKey });
  await assertFails(store.open('k'), { kind: 'permanent', says: /InvalidRequest, HTTP 400.*Server Side Encryption/ });
  const other = {
    kind: 'customer-key',
    algorithm: 'AES256',
    key: new Secret(Buffer.alloc(32, 'o').toString('base64')),
  } as const;
  const stranger = storeAt(t, fake.location({ encryption: other }));
  await assertFails(stranger.open('k'), { kind: 'denied', says: /access is denied/ });
});

test('bodies are signed, or carry a digest instead', async (t) => {
  for (const signPayload of [true, false]) {
    const { fake, store } = await fakeStore(t, SMALL_PARTS, { ...IN_PARTS, signPayload });
    await store.put('small', { bytes: bytesOf('x') });
    await store.put('large', { bytes: LARGE });
    for (const { headers, body, operation } of fake.calls.filter(
      ({ method, operation }) => method === 'PUT' && operation,
    )) {
      assert.equal(headers['x-amz-content-sha256'] === 'UNSIGNED-PAYLOAD', !signPayload, operation);
      assert.equal(headers['content-md5'] !== undefined, !signPayload);
      assert.equal(headers['content-length'], String(body.length));
      assert.equal(headers['transfer-encoding'], undefined);
    }
  }
});

test('deletes carry a digest, unless the provider does not want it', async (t) => {
  const { fake, store } = await fakeStore(t, {}, { contentMd5: false });
  const says = /Missing required header for this request: Content-MD5/;
  await assertFails(store.delete(['k', 'l']), { kind: 'permanent', says });
  assert.equal(fake.calls[0]?.headers['content-md5'], undefined);
});

test('keys with every odd character are signed as they are sent', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS);
  const ascii = Array.from({ length: 126 }, (_, i) => String.fromCharCode(i + 1)).filter((char) => char !== '/');
  const keys = [
    ...ascii.map((char) => `k${char}k`),
    ...ascii.filter((char) => char !== '.'),
    '..a',
    'a..',
    '%',
    '%41',
    '%2F',
    '+',
    'a b',
    'é',
    'é',
    '鍵',
    '🔑',
    '\ufffd',
    'a?b=c&d',
    'a#b',
    "~-_.!*()'",
  ];
  await Promise.all(keys.map((key) => store.put(key, { bytes: bytesOf(key) })));
  assert.deepEqual(new Set(fake.objects.keys()), new Set(keys.map((key) => `app/${key}`)));
  for (const key of keys) assert.equal(await textOf(store, key), key);
  assert.deepEqual(new Set(await keysOf(store, '')), new Set(keys));
  const uploaded = "ü/%2F +?&#'()*!.ltx";
  await store.put(uploaded, { bytes: LARGE });
  assert.deepEqual(fake.objects.get(`app/${uploaded}`)?.bytes, Buffer.from(LARGE));
  const results = await store.delete(keys);
  assert.deepEqual(
    results.filter(({ error }) => error),
    [],
  );
  assert.deepEqual(await keysOf(store, ''), [uploaded]);
});

test('keys that XML cannot hold are deleted without it, and do not spoil the delete of others', async (t) => {
  const { fake, store } = await fakeStore(t);
  const keys = ['plain', 'a\u0001b', '\u001f', 'x\ufffe', 'y\uffff', 'cr\rlf\n\ttab', ' '];
  for (const key of keys) fake.store(`app/${key}`, 'x');
  assert.deepEqual(
    (await store.delete(keys)).map(({ key, error }) => [key, error]),
    keys.map((key) => [key, undefined]),
  );
  assert.equal(fake.objects.size, 0);
});

test('a store without a batch delete is asked for one key at a time', async (t) => {
  for (const batchDelete of ['missing', 'forbidden-method'] as const) {
    const { fake, store } = await fakeStore(t, { batchDelete });
    const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
    for (const key of keys) fake.store(`app/${key}`, 'x');
    fake.instead = ({ operation, key }) => {
      if (operation !== 'delete') return undefined;
      return key === 'app/k7' ? s3Error(403, 'AccessDenied') : key === 'app/k8' ? s3Error(404, 'NoSuchKey') : undefined;
    };
    const results = await store.delete([...keys, 'never']);
    assert.deepEqual(
      results.filter(({ error }) => error).map(({ key, error }) => [key, error?.kind]),
      [['k7', 'denied']],
    );
    assert.deepEqual([...fake.objects.keys()], ['app/k7', 'app/k8']);
  }
});

// ---- Creating ----

test('a create that the store decides is one request after the first, which tries it out and tidies up', async (t) => {
  const { fake, store } = await fakeStore(t);
  await store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true });
  await store.put('b', { bytes: bytesOf('x') }, { ifAbsent: true });
  assert.deepEqual(fake.operations(), ['put', 'put', 'delete', 'put', 'put']);
  assert.deepEqual(
    fake.calls.slice(3).map(({ headers }) => headers['if-none-match']),
    ['*', '*'],
  );
  assert.deepEqual([...fake.objects.keys()], ['app/a', 'app/b']);
  await assertFails(store.put('a', { bytes: bytesOf('y') }, { ifAbsent: true }), {
    kind: 'exists',
    says: /there is an object already/,
  });
  assert.equal(await store.conditionalWrites(), true);
  assert.equal(fake.calls.length, 6);
});

test('a create where the store refuses or ignores the condition looks first, and does not send it', async (t) => {
  for (const conditionalWrites of ['refused', 'ignored'] as const) {
    const { fake, store } = await fakeStore(t, { conditionalWrites });
    await store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true });
    await assertFails(store.put('a', { bytes: bytesOf('y') }, { ifAbsent: true }), {
      kind: 'exists',
      says: /there is an object already/,
    });
    assert.equal(await store.conditionalWrites(), false);
    assert.equal(await textOf(store, 'a'), 'x');
    assert.deepEqual([...fake.objects.keys()], ['app/a'], 'nothing is left of the probe');
    const puts = fake.calls.filter(({ operation, key }) => operation === 'put' && key === 'app/a');
    assert.deepEqual(
      puts.map(({ headers }) => headers['if-none-match']),
      [undefined],
    );
  }
});

test('the probe is removed when its second write fails or is aborted, and that it cannot be removed is no failure', async (t) => {
  const { fake, store } = await fakeStore(t);
  let puts = 0;
  fake.instead = ({ operation }) => (operation === 'put' && ++puts === 2 ? s3Error(500, 'InternalError') : undefined);
  await assertFails(store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true }), {
    kind: 'transient',
    says: /InternalError/,
  });
  assert.equal(fake.objects.size, 0);
  const control = new AbortController();
  puts = 0;
  fake.instead = ({ operation }) => {
    if (operation !== 'put' || ++puts !== 2) return undefined;
    control.abort(new Error('enough'));
    return 'hang';
  };
  const aborted = await failureOf(store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true, signal: control.signal }));
  assert.equal(aborted, control.signal.reason);
  assert.equal(fake.objects.size, 0);
  fake.instead = ({ operation }) => (operation === 'delete' ? s3Error(403, 'AccessDenied') : undefined);
  await store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true });
  assert.equal(await textOf(store, 'a'), 'x');
});

test('the probe is removed when the answer to its first write is lost', async (t) => {
  const { fake, store } = await fakeStore(t);
  fake.instead = ({ operation, key }) => {
    if (operation !== 'put') return undefined;
    fake.store(key, 'probe');
    return 'cut';
  };
  await assertFails(store.put('a', { bytes: bytesOf('x') }, { ifAbsent: true }), {
    kind: 'transient',
    says: /cut|hung up/,
  });
  assert.equal(fake.objects.size, 0);
});

test('a conflict with another writer is worth another try, and the try finds the other object', async (t) => {
  const { fake, store } = await fakeStore(t);
  await store.conditionalWrites();
  let conflicts = 1;
  fake.instead = ({ operation, key }) => {
    if (operation !== 'put' || conflicts-- <= 0) return undefined;
    fake.store(key, "the other's");
    return s3Error(409, 'ConditionalRequestConflict');
  };
  const put = new RetryingStore(store, RETRIES).put('a', { bytes: bytesOf('mine') }, { ifAbsent: true });
  await assertFails(put, { kind: 'exists', says: /there is an object already/ });
  assert.equal(await textOf(store, 'a'), "the other's");
});

test('a create in parts is decided at its end, and leaves no parts when it lost', async (t) => {
  for (const conditionalWrites of ['decided', 'ignored'] as const) {
    const { fake, store } = await fakeStore(t, { ...SMALL_PARTS, conditionalWrites }, IN_PARTS);
    await store.conditionalWrites();
    fake.instead = ({ operation, key }) => {
      if (operation === 'put-part' && !fake.objects.has(key)) fake.store(key, "the other's");
      return undefined;
    };
    await assertFails(store.put('a', { bytes: LARGE }, { ifAbsent: true }), {
      kind: 'exists',
      says: /there is an object already/,
    });
    assert.equal(await textOf(store, 'a'), "the other's");
    assert.equal(fake.uploads.size, 0);
  }
});

// ---- Uploads in parts ----

test('what is as large as a part goes whole, and one byte more goes in parts', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS);
  await store.put('k', { bytes: patternOf(1, 1000) });
  assert.deepEqual(fake.operations(), ['put']);
  await store.put('k', { bytes: patternOf(1, 1001) });
  assert.deepEqual(
    ofOperation(fake, 'put-part')
      .map(({ body }) => body.length)
      .sort(),
    [1, 1000],
  );
  assert.deepEqual(fake.objects.get('app/k')?.bytes, Buffer.from(patternOf(1, 1001)));
});

test('no more parts of an object are under way than allowed', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, { partSizeBytes: 100, concurrency: 3 });
  let [now, most] = [0, 0];
  const all = Promise.withResolvers<void>();
  fake.instead = async ({ operation }) => {
    if (operation !== 'put-part') return undefined;
    most = Math.max(most, ++now);
    if (now === 3) all.resolve();
    await all.promise;
    now--;
    return undefined;
  };
  await store.put('k', { bytes: LARGE });
  assert.equal(most, 3);
});

test('parts grow where there would be more than 10,000 of them', () => {
  const mib = 1 << 20;
  const cases = [
    [0, 5 * mib],
    [5 * mib * 10_000, 5 * mib],
    [5 * mib * 10_000 + 1, 6 * mib],
    [5 * 1024 ** 4, 525 * mib],
  ] as const;
  for (const [size, expected] of cases) {
    const partSize = partSizeFor(size, 5 * mib);
    assert.equal(partSize, expected);
    assert.ok(Math.ceil(size / partSize) <= 10_000);
  }
});

test('an object of exactly 10,000 parts is stored', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, { partSizeBytes: 8, concurrency: 16 });
  await store.put('k', { bytes: patternOf(3, 80_000) });
  assert.equal(ofOperation(fake, 'put-part').length, 10_000);
  assert.deepEqual(fake.objects.get('app/k')?.bytes, Buffer.from(patternOf(3, 80_000)));
});

test('a part that fails is sent again alone', async (t) => {
  const notices: RetryNotice[] = [];
  const partRetries = { ...RETRIES, onRetry: (notice: RetryNotice) => notices.push(notice) };
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { partRetries });
  let failures = 2;
  fake.instead = ({ query }) =>
    query.get('partNumber') === '2' && failures-- > 0 ? s3Error(500, 'InternalError') : undefined;
  await store.put('k', { bytes: LARGE });
  const parts = ofOperation(fake, 'put-part').map(({ query }) => query.get('partNumber'));
  assert.deepEqual(parts.sort(), ['1', '2', '2', '2', '3', '4']);
  assert.deepEqual(
    notices.map(({ attempt }) => attempt),
    [1, 2],
  );
  assert.deepEqual(fake.objects.get('app/k')?.bytes, Buffer.from(LARGE));
  assert.equal(ofOperation(fake, 'create-upload').length, 1);
});

test('an upload of which a part fails for good is ended, after every other part has stopped', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { partRetries: RETRIES });
  const others = Promise.withResolvers<void>();
  let waiting = 0;
  fake.instead = async ({ operation, query }) => {
    if (operation !== 'put-part') return undefined;
    if (query.get('partNumber') !== '3') {
      if (++waiting === 3) others.resolve();
      return 'hang';
    }
    await others.promise;
    return s3Error(403, 'AccessDenied');
  };
  await assertFails(store.put('k', { bytes: LARGE }), {
    kind: 'denied',
    says: /cannot store s3:\/\/test-bucket\/app\/k: access is denied/,
  });
  await eventually(
    'only the connection of the last request is left',
    () => fake.server.openConnections <= 1 || undefined,
  );
  assert.equal(fake.uploads.size, 0);
  assert.equal(fake.operations().at(-1), 'abort-upload');
  assert.equal(ofOperation(fake, 'put-part').length, 4, 'no part was tried again');
});

test('the end of an upload that fails for a moment is asked for again, and the parts are not sent again', async (t) => {
  const failing = [
    s3Error(503, 'SlowDown', { headers: { 'Retry-After': '0' } }),
    {
      status: 200,
      headers: XML,
      body: '<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>m</Message></Error>',
    },
    'cut' as const,
  ];
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, {
    partRetries: { ...RETRIES, longestRetryAfterMs: 0 },
  });
  fake.instead = ({ operation }) => (operation === 'complete-upload' ? failing.shift() : undefined);
  await store.put('k', { bytes: LARGE });
  assert.equal(ofOperation(fake, 'complete-upload').length, 4);
  assert.equal(ofOperation(fake, 'put-part').length, 4);
  assert.equal(fake.objects.get('app/k')?.bytes.length, LARGE.length);
});

test('an end of an upload that says 200 and an error is a failure, and one that says something else is none of S3', async (t) => {
  const failed = { status: 200, headers: XML, body: '<Error><Code>InternalError</Code></Error>' };
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { partRetries: RETRIES });
  for (const [answer, kind, says] of [
    [failed, 'transient', /InternalError/],
    [{ ...failed, body: '<Error><Code>AccessDenied</Code></Error>' }, 'denied', /access is denied/],
    [{ status: 200, headers: XML, body: '' }, 'permanent', /not S3/],
    [{ status: 200, headers: XML, body: '<CompleteMultipartUploadResult><ETag>' }, 'permanent', /not S3/],
  ] as const) {
    fake.instead = ({ operation }) => (operation === 'complete-upload' ? answer : undefined);
    await assertFails(store.put('k', { bytes: LARGE }), { kind, says });
    assert.deepEqual([fake.objects.size, fake.uploads.size], [0, 0]);
  }
});

test('an upload whose completion was done and whose answer was lost is sent again as a whole, and is there', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { partRetries: RETRIES });
  let lost = 1;
  fake.instead = ({ operation, query, key }) => {
    if (operation !== 'complete-upload' || lost-- <= 0) return undefined;
    fake.uploads.delete(query.get('uploadId') ?? '');
    fake.store(key, LARGE);
    return 'cut';
  };
  await new RetryingStore(store, RETRIES).put('k', { bytes: LARGE });
  assert.deepEqual(fake.objects.get('app/k')?.bytes, Buffer.from(LARGE));
  assert.equal(
    ofOperation(fake, 'complete-upload').length,
    3,
    'the lost one, the one that finds nothing, the second upload',
  );
});

test('a write that the store took for older than what is there is made again until it counts', async (t) => {
  const { fake, store } = await fakeStore(t);
  const accepted = {
    status: 200,
    headers: { ...HTML, 'x-amz-request-id': 'R1' },
    body: '<html><h1>Accepted</h1></html>',
  };
  let overtaken = 2;
  fake.instead = () => (overtaken-- > 0 ? accepted : undefined);
  await store.put('k', { bytes: bytesOf('mine') });
  assert.equal(await textOf(store, 'k'), 'mine');
  fake.instead = ({ operation }) => (operation === 'put' ? accepted : undefined);
  const says = /takes it for older than what is there/;
  await assertFails(store.put('k', { bytes: bytesOf('late') }), { kind: 'transient', says });
});

test('parts without an ETag are an error, and leave no upload', async (t) => {
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS);
  fake.instead = ({ operation }) => (operation === 'put-part' ? { status: 200 } : undefined);
  await assertFails(store.put('k', { bytes: LARGE }), { kind: 'permanent', says: /gives parts no ETag/ });
  assert.equal(fake.uploads.size, 0);
});

test('a file that becomes shorter while it is sent is an error, and leaves no upload', async (t) => {
  const file = join(tempFolder(t), 'body');
  writeFileSync(file, LARGE);
  const { fake, store } = await fakeStore(t, SMALL_PARTS, { ...IN_PARTS, concurrency: 1 });
  fake.instead = ({ operation }) => {
    if (operation === 'put-part') truncateSync(file, 1500);
    return undefined;
  };
  await assertFails(store.put('k', { file, sizeBytes: LARGE.length }), {
    kind: 'permanent',
    says: /it became shorter/,
  });
  assert.deepEqual([fake.objects.size, fake.uploads.size], [0, 0]);
});

test('uploads that were begun more than a day ago are ended by the first upload, younger ones and those of others are not', async (t) => {
  const isOwnKey = (key: string): boolean => key.startsWith('0000/');
  const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { isOwnKey });
  const upload = (key: string, agoMs: number) => ({
    key,
    startedMs: Date.now() - agoMs,
    headers: {},
    parts: new Map(),
  });
  fake.uploads.set('old', upload('app/0000/a', DAY_MS + 60_000));
  fake.uploads.set('young', upload('app/0000/b', DAY_MS - 60_000));
  fake.uploads.set('other', upload('application/a', 9 * DAY_MS));
  fake.uploads.set('elsewhere', upload('other/a', 9 * DAY_MS));
  fake.uploads.set('not a name of ours', upload('app/video.mp4', 9 * DAY_MS));
  await store.put('small', { bytes: bytesOf('x') });
  assert.equal(fake.uploads.size, 5);
  const methods: string[] = [];
  await store.put('k', { bytes: LARGE }, { onRequest: ({ method }) => methods.push(method) });
  assert.deepEqual([...fake.uploads.keys()], ['young', 'other', 'elsewhere', 'not a name of ours']);
  assert.deepEqual(
    methods.toSorted(),
    ['DELETE', 'GET', 'POST', 'POST', 'PUT', 'PUT', 'PUT', 'PUT'],
    'the sweep is counted, too',
  );
  fake.uploads.set('old', upload('app/0000/a', 9 * DAY_MS));
  await store.put('k', { bytes: LARGE });
  assert.ok(fake.uploads.has('old'), 'looked for once');
});

test('that uploads may not be listed or ended is no reason not to store', async (t) => {
  for (const operation of ['list-uploads', 'abort-upload'] as const) {
    const { fake, store } = await fakeStore(t, SMALL_PARTS, IN_PARTS, { isOwnKey: () => true });
    fake.uploads.set('old', { key: 'app/a', startedMs: 0, headers: {}, parts: new Map() });
    fake.instead = (call) => (call.operation === operation ? s3Error(403, 'AccessDenied') : undefined);
    await store.put('k', { bytes: LARGE });
    assert.equal(fake.objects.size, 1);
  }
});

// ---- Counting and pacing ----

test('every request is told of with the bytes of its body, also those that fail', async (t) => {
  const heard: (readonly [string, number])[] = [];
  const options = {
    onRequest: ({ method, sentBytes }: { method: string; sentBytes: number }) => heard.push([method, sentBytes]),
  };
  const failing: FakeS3Options['instead'] = ({ key }) =>
    key === 'app/bad' ? s3Error(500, 'InternalError') : undefined;
  const { fake, store } = await fakeStore(t, { ...SMALL_PARTS, pageObjects: 2, instead: failing }, IN_PARTS);
  await store.put('a', { bytes: patternOf(1, 700) }, options);
  await store.put('b', { bytes: LARGE }, options);
  await failureOf(store.put('bad', { bytes: bytesOf('12345') }, options));
  await (await store.open('a', options)).close();
  for await (const _ of store.list('', options));
  fake.store('app/c', '');
  for await (const _ of store.list('', options));
  await store.delete(['a', 'b'], options);
  assert.equal(heard.length, fake.server.requests.length);
  assert.deepEqual(
    heard.map(([method]) => method).toSorted(),
    fake.server.requests.map(({ method }) => method).toSorted(),
  );
  const received = fake.server.requests.reduce((sum, { body }) => sum + body.length, 0);
  assert.equal(
    heard.reduce((sum, [, bytes]) => sum + bytes, 0),
    received,
  );
});

test('a body is held back piece by piece, all of it, and nothing else is', async (t) => {
  const paced: number[] = [];
  const { fake, store } = await fakeStore(t, SMALL_PARTS, { partSizeBytes: 50_000 });
  await store.put('a', { bytes: patternOf(1, 130_000) }, { pace: async (bytes) => void paced.push(bytes) });
  assert.ok(paced.every((bytes) => bytes > 0 && bytes <= 16_384));
  const completion = ofOperation(fake, 'complete-upload')[0]?.body.length ?? 0;
  assert.equal(
    paced.reduce((sum, bytes) => sum + bytes, 0),
    130_000 + completion,
  );
});

test('a pace that fails ends the put with its error', async (t) => {
  const { server, store } = await scriptedStore(t, { headers: { ETag: '"e"' } });
  const put = store.put('a', { bytes: patternOf(1, 100_000) }, { pace: () => Promise.reject(new Error('no more')) });
  await assertFails(put, { kind: 'transient', says: /no more/ });
  await server.allClosed();
});
