import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Secret } from '../../src/base/secret.ts';
import type { S3Location } from '../../src/config/s3-location.ts';
import { S3Store } from '../../src/store/s3/s3-store.ts';
import type { Store } from '../../src/store/store.ts';
import {
  BUCKET,
  credentialsFor,
  FakeS3,
  type FakeS3Options,
  KEY,
  type Operation,
  PERMISSIONS,
  REGION,
} from '../support/fake-s3.ts';
import { toLoopback } from '../support/loopback.ts';
import { assertFails, failureOf, SECRETS } from '../support/s3-failure.ts';
import { fakeStore, scriptedStore } from '../support/s3-stores.ts';
import { HTML, htmlPage, type Script, type ScriptedAnswer, s3Error, XML } from '../support/scripted-server.ts';
import { bytesOf, keysOf, patternOf, textOf } from './conformance.ts';

async function storeThatHears(
  t: TestContext,
  script: Script | ScriptedAnswer,
  changes: Partial<S3Location> = {},
): Promise<S3Store> {
  return (await scriptedStore(t, script, changes)).store;
}

const VERBS: Readonly<Record<string, (store: Store) => Promise<unknown>>> = {
  list: (store) => keysOf(store, 'ltx/'),
  open: (store) => store.open('ltx/k'),
  put: (store) => store.put('ltx/k', { bytes: bytesOf('x') }),
  create: (store) => store.put('ltx/k', { bytes: bytesOf('x') }, { ifAbsent: true }),
  delete: async (store) => {
    const [result] = await store.delete(['ltx/k']);
    if (result?.error) throw result.error;
  },
};

/** Of each verb alone. */
async function everyVerb(
  work: (verb: string, call: (store: Store) => Promise<unknown>) => Promise<void>,
): Promise<void> {
  for (const [verb, call] of Object.entries(VERBS)) await work(verb, call);
}

// ---- Who one is ----

test('a wrong access key is named, with what to check', async (t) => {
  const { store } = await fakeStore(t, {}, { credentials: credentialsFor({ ...KEY, accessKeyId: 'AKIAWRONG' }) });
  await everyVerb(async (_, call) => {
    const error = await assertFails(call(store), {
      kind: 'denied',
      says: /the access key AKIAWRONG is not known/,
      next: /access-key-id/,
    });
    assert.match(error.message, /InvalidAccessKeyId, HTTP 403, request R1/);
  });
});

test('a wrong secret is named as that, and not shown', async (t) => {
  const credentials = credentialsFor({ ...KEY, secretAccessKey: SECRETS.wrongSecret });
  const { store } = await fakeStore(t, {}, { credentials });
  await everyVerb(async (_, call) => {
    const says = /the secret access key does not belong to AKIATESTKEY/;
    await assertFails(call(store), { kind: 'denied', says, next: /secret-access-key/ });
  });
});

test('a session token that ran out is named, and not shown', async (t) => {
  const credentials = credentialsFor({ ...KEY, sessionToken: SECRETS.token });
  const { store } = await fakeStore(t, {}, { credentials });
  await everyVerb(async (_, call) => {
    await assertFails(call(store), {
      kind: 'denied',
      says: /the session token is not valid/,
      next: /temporary credentials/,
    });
  });
});

test('credentials that were copied with a line break or a space are refused before anything is sent', async (t) => {
  const spoiled = [
    [{ ...KEY, accessKeyId: `${KEY.accessKeyId}\n` }, /^the access key has a space, a line break/],
    [{ ...KEY, secretAccessKey: `${KEY.secretAccessKey}\r\n` }, /^the secret access key has a space, a line break/],
    [{ ...KEY, sessionToken: ` ${SECRETS.token}` }, /^the session token has a space, a line break/],
  ] as const;
  for (const [key, says] of spoiled) {
    const { fake, store } = await fakeStore(t, {}, { credentials: credentialsFor(key) });
    await assertFails(keysOf(store, ''), { kind: 'denied', says, next: /copied/ });
    assert.equal(fake.server.requests.length, 0);
  }
});

test('a clock that is wrong is named, and by how much it is wrong', async (t) => {
  for (const [clockAheadMs, words] of [
    [3_600_000, /behind the server's/],
    [-3_600_000, /ahead of the server's/],
  ] as const) {
    const { store } = await fakeStore(t, { clockAheadMs });
    const says = [/the clock of this machine is wrong/, /it is 60 min /, words];
    await assertFails(keysOf(store, ''), { kind: 'denied', says, next: /set the clock/ });
  }
});

// ---- Where the bucket is ----

test('a configured region that is wrong is named, with the right one', async (t) => {
  for (const wrongRegion of ['malformed', 'redirect'] as const) {
    const { fake, store } = await fakeStore(t, { wrongRegion }, { region: 'us-west-7' });
    const says = /the bucket is in region eu-test-1, not us-west-7/;
    await assertFails(keysOf(store, ''), { kind: 'permanent', says, next: /^set region: eu-test-1$/ });
    assert.equal(fake.server.requests.length, 1);
  }
});

test('a region that was guessed is corrected by itself, once, also for many requests at once', async (t) => {
  for (const wrongRegion of ['malformed', 'redirect'] as const) {
    const { fake, store } = await fakeStore(t, { wrongRegion }, { region: undefined });
    const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => store.put(key, { bytes: bytesOf(key) })));
    assert.equal(fake.objects.size, 10);
    assert.ok(fake.server.requests.length <= 20);
    const before = fake.server.requests.length;
    assert.equal(await textOf(store, 'k3'), 'k3');
    assert.equal(fake.server.requests.length, before + 1);
  }
});

test('a region that nobody set is a guess, also where the environment or an endpoint gave it', async (t) => {
  const options: FakeS3Options = { wrongRegion: 'malformed' };
  const { store } = await fakeStore(t, options, { region: undefined }, { env: { AWS_REGION: 'us-west-7' } });
  await store.put('k', { bytes: bytesOf('x') });
  assert.equal(await textOf(store, 'k'), 'x');
  const { store: defaulted } = await fakeStore(t, options, { region: 'us-east-1' });
  assert.deepEqual(await keysOf(defaulted, ''), []);
});

test('a HEAD that goes to the wrong region learns the right one from a header', async (t) => {
  const options: FakeS3Options = { wrongRegion: 'redirect', conditionalWrites: 'refused' };
  const { store } = await fakeStore(t, options, { region: undefined });
  await store.put('k', { bytes: bytesOf('x') }, { ifAbsent: true });
  assert.equal(await textOf(store, 'k'), 'x');
});

test('the region of the environment is taken where none is configured, and that of an access point before it', async (t) => {
  const hostLabel = 'point-123456789012';
  const fake = await FakeS3.start(t, { hostSuffix: 's3.test', hostLabel });
  const region = async (env: Record<string, string>, bucket = BUCKET): Promise<string> => {
    const store = new S3Store(fake.location({ region: undefined, bucket }), { env, lookup: toLoopback });
    await keysOf(store, '').catch(() => undefined);
    await store.close();
    const { headers } = fake.calls.splice(0)[0] ?? assert.fail('nothing was asked');
    return String(headers.authorization).split('/')[2] ?? '';
  };
  assert.equal(await region({ AWS_REGION: REGION, AWS_DEFAULT_REGION: 'other' }), REGION);
  assert.equal(await region({ AWS_DEFAULT_REGION: 'other-2' }), 'other-2');
  assert.equal(await region({}), 'us-east-1');
  const arn = `arn:aws:s3:${REGION}:123456789012:accesspoint/point`;
  assert.equal(await region({ AWS_REGION: 'other' }, arn), REGION);
  const store = new S3Store(fake.location({ region: undefined, bucket: arn }), { env: {}, lookup: toLoopback });
  await store.put('k', { bytes: bytesOf('x') });
  assert.equal(await textOf(store, 'k'), 'x');
  await store.close();
});

test('a bucket that is not there is never "nothing stored", and is named with its server', async (t) => {
  const { fake, store } = await fakeStore(t, {}, { bucket: 'no-such-bucket' });
  await everyVerb(async (_, call) => {
    const says = [/there is no bucket no-such-bucket at http:\/\/127\.0\.0\.1:\d+/, /NoSuchBucket, HTTP 404/];
    await assertFails(call(store), { kind: 'permanent', says, next: /check bucket and endpoint/ });
  });
  assert.ok(fake.server.requests.length > 0);
});

test('a bucket that is not there is no success of deletes one by one either', async (t) => {
  const { store } = await fakeStore(
    t,
    { instead: ({ method }) => (method === 'POST' ? { status: 405 } : undefined) },
    { bucket: 'no-such-bucket' },
  );
  const [result] = await store.delete(['k']);
  assert.match(result?.error?.message ?? '', /there is no bucket no-such-bucket/);
});

// ---- What one may ----

test('a permission that is missing is named for each verb, by the name that a policy has for it', async (t) => {
  const large = { bytes: patternOf(1, 3000) };
  const cases: readonly (readonly [Operation, (store: Store) => Promise<unknown>])[] = [
    ['list', (store) => keysOf(store, '')],
    ['get', (store) => store.open('k')],
    ['put', (store) => store.put('k', { bytes: bytesOf('x') })],
    ['delete-many', (store) => store.delete(['k', 'l'])],
    ['create-upload', (store) => store.put('k', large)],
    ['put-part', (store) => store.put('k', large)],
    ['complete-upload', (store) => store.put('k', large)],
  ];
  for (const [operation, call] of cases) {
    const instead: FakeS3Options['instead'] = (asked) =>
      asked.operation === operation ? s3Error(403, 'AccessDenied') : undefined;
    const { fake, store } = await fakeStore(t, { instead, minPartBytes: 1 }, { partSizeBytes: 1000 });
    fake.store('app/k', 'x');
    const next = new RegExp(`^allow ${PERMISSIONS[operation]} for it`);
    await assertFails(call(store), { kind: 'denied', says: /access is denied to AKIATESTKEY/, next });
    assert.deepEqual([...fake.uploads.keys()], [], 'no upload is left behind');
  }
});

test('a read that is denied says that the right to list decides how a missing object looks', async (t) => {
  const { store } = await fakeStore(t, { instead: () => s3Error(403, 'AccessDenied') });
  await assertFails(store.open('k'), {
    kind: 'denied',
    says: /k: access is denied/,
    next: /s3:GetObject .*s3:ListBucket/,
  });
});

test('a HEAD that is forbidden is no proof of absence: a create fails, and stores nothing', async (t) => {
  const instead: FakeS3Options['instead'] = ({ operation }) => (operation === 'head' ? { status: 403 } : undefined);
  const { fake, store } = await fakeStore(t, { instead, conditionalWrites: 'refused' });
  await assertFails(VERBS.create?.(store) ?? assert.fail(), { kind: 'denied', says: /HTTP 403/, next: /s3:GetObject/ });
  assert.equal(fake.objects.size, 0);
});

test('a delete that is denied for one key says so for that key, and deletes the others', async (t) => {
  const instead: FakeS3Options['instead'] = ({ operation }) => {
    if (operation !== 'delete-many') return undefined;
    const body =
      '<DeleteResult><Deleted><Key>app/a</Key></Deleted><Error><Key>app/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>' +
      '<Error><Key>app/c</Key><Code>NoSuchKey</Code></Error><Error><Key>app/d</Key><Code>InternalError</Code></Error>' +
      '<Error><Key>app/e</Key><Code>Odd&amp;New</Code><Message>words &lt;of&gt; the server</Message></Error></DeleteResult>';
    return { status: 200, headers: XML, body };
  };
  const { store } = await fakeStore(t, { instead });
  const results = new Map((await store.delete(['a', 'b', 'c', 'd', 'e', 'f'])).map(({ key, error }) => [key, error]));
  assert.deepEqual(
    [...results.values()].map((error) => error?.kind),
    [undefined, 'denied', undefined, 'transient', 'permanent', 'transient'],
  );
  assert.match(results.get('b')?.message ?? '', /cannot delete s3:\/\/test-bucket\/app\/b: access is denied/);
  assert.match(results.get('b')?.next ?? '', /s3:DeleteObject/);
  assert.match(results.get('e')?.message ?? '', /Odd&New.*words <of> the server/);
  assert.match(results.get('f')?.message ?? '', /did not say what became of it/);
});

test('a quota that is used up is "full", whatever the store calls it', async (t) => {
  for (const answer of [s3Error(403, 'QuotaExceeded'), s3Error(507, 'XMinioStorageFull'), { status: 507 }]) {
    const store = await storeThatHears(t, answer);
    await assertFails(store.put('k', { bytes: bytesOf('x') }), {
      kind: 'full',
      says: /no space is left/,
      next: /quota/,
    });
  }
});

// ---- Who answers ----

test('a web page instead of S3 is an error that says so, whatever its status, and never an object, a listing or an absence', async (t) => {
  for (const status of [200, 302, 400, 403, 404, 407]) {
    const store = await storeThatHears(t, htmlPage(status));
    await everyVerb(async (_, call) => {
      const says = [/answered something that is not S3/, new RegExp(`HTTP ${status}, text/html`)];
      await assertFails(call(store), { kind: 'permanent', says, next: /check endpoint/ });
    });
  }
});

test('a web page of a balancer that says 502, 503 or 504 is worth another try', async (t) => {
  for (const status of [500, 502, 503, 504, 429]) {
    const store = await storeThatHears(t, htmlPage(status));
    await everyVerb(async (_, call) => {
      await assertFails(call(store), { kind: 'transient', says: new RegExp(`HTTP ${status}`) });
    });
  }
});

test('an answer of nothing but 404 is an absence only where S3 says it, not where anybody does', async (t) => {
  const bare = await storeThatHears(t, { status: 404 });
  await assertFails(keysOf(bare, ''), { kind: 'permanent', says: /not S3 \(HTTP 404/ });
  await assertFails(bare.open('k'), { kind: 'permanent', says: /not S3 \(HTTP 404/ });
  const s3 = await storeThatHears(t, { status: 404, headers: { 'x-amz-request-id': 'R1' } });
  await assertFails(s3.open('k'), { kind: 'not-found', says: /it is not there \(HTTP 404, request R1\)/ });
  await assertFails(keysOf(s3, ''), { kind: 'permanent', says: /HTTP 404/ });
  const noKey = await storeThatHears(t, s3Error(404, 'NoSuchKey'));
  await assertFails(noKey.open('k'), { kind: 'not-found', says: /NoSuchKey/ });
  await assertFails(keysOf(noKey, ''), { kind: 'permanent', says: /NoSuchKey/ });
});

test('a success without what S3 adds to it is none', async (t) => {
  const store = await storeThatHears(t, { status: 200 });
  const says = /answered something that is not S3 \(HTTP 200/;
  await everyVerb(async (verb, call) => {
    // To the delete of one key S3 adds nothing either.
    if (verb !== 'delete') await assertFails(call(store), { kind: 'permanent', says });
  });
  await assertFails(store.delete(['k', 'l']), { kind: 'permanent', says });
});

const CONTENT =
  '<Contents><Key>app/ltx/a</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>';

test('a listing that is not whole is an error and not a shorter listing', async (t) => {
  const begin = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">';
  const end = '</ListBucketResult>';
  const last = '<IsTruncated>false</IsTruncated>';
  const broken: Readonly<Record<string, string>> = {
    'no IsTruncated': begin + CONTENT + end,
    'an IsTruncated of another word': `${begin}<IsTruncated>maybe</IsTruncated>${CONTENT}${end}`,
    'truncated without a token': `${begin}<IsTruncated>true</IsTruncated>${CONTENT}${end}`,
    'cut after the first object': begin + last + CONTENT,
    'cut within an object': begin + last + CONTENT.slice(0, 40),
    'cut before the first object': begin + last,
    'no size': begin + last + CONTENT.replace(/<Size>.*<\/Size>/, '') + end,
    'a size that is no number': begin + last + CONTENT.replace('<Size>1', '<Size>-1') + end,
    'no time': begin + last + CONTENT.replace(/<LastModified>.*<\/LastModified>/, '') + end,
    'an error in a 200': '<Error><Code>InternalError</Code></Error>',
    JSON: '{"Contents":[]}',
    nothing: '',
    zeros: '\0'.repeat(500),
  };
  for (const [name, body] of Object.entries(broken)) {
    const store = await storeThatHears(t, { status: 200, headers: XML, body });
    const error = await failureOf(keysOf(store, 'ltx/'));
    assert.match(String(error), /cannot list s3:\/\/test-bucket\/app\/ltx\/.* not S3 \(HTTP 200/, name);
  }
});

test('a listing with a key outside of what was asked for is an error', async (t) => {
  const page = (key: string): string =>
    `<ListBucketResult><IsTruncated>false</IsTruncated>${CONTENT.replace('app/ltx/a', key)}</ListBucketResult>`;
  for (const key of ['other/ltx/a', 'app/other', 'app', '/app/ltx/a']) {
    const store = await storeThatHears(t, { headers: XML, body: page(key) });
    await assertFails(keysOf(store, 'ltx/'), { kind: 'permanent', says: /which was not asked for/ });
  }
});

test('a store that gives the same page again and again, or keys out of order, does not keep a listing going for ever', async (t) => {
  const object = (key: string): string => CONTENT.replace('app/ltx/a', `app/${key}`);
  const page = (keys: readonly string[]): ScriptedAnswer => ({
    headers: XML,
    body: `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>${keys.map(object).join('')}</ListBucketResult>`,
  });
  for (const keys of [['a', 'b'], ['a'], ['b', 'a'], []]) {
    const store = await storeThatHears(t, page(keys));
    await assertFails(keysOf(store, ''), { kind: 'permanent', says: /not in order or not completely|the same page/ });
  }
});

test('a store that does not know start-after gives the same listing as one that does', async (t) => {
  const object = (key: string): string => CONTENT.replace('app/ltx/a', `app/${key}`);
  const body = `<ListBucketResult><IsTruncated>false</IsTruncated>${['a', 'b', 'c', 'd'].map(object).join('')}</ListBucketResult>`;
  const store = await storeThatHears(t, { headers: XML, body });
  assert.deepEqual(await keysOf(store, '', 'b'), ['c', 'd']);
});

test('what a console calls a folder is not an object', async (t) => {
  const { fake, store } = await fakeStore(t);
  for (const key of ['app/', 'app/ltx/', 'app/ltx/a']) fake.store(key, '');
  assert.deepEqual(await keysOf(store, ''), ['ltx/a']);
});

test('a compressed listing is an error, and a compressed object is given as it is stored', async (t) => {
  const body = Buffer.from('1f8b08000000000000034bcecf2d284a2d2e4e4d0100f2ec2b8a0a000000', 'hex');
  const store = await storeThatHears(t, { headers: { 'Content-Encoding': 'gzip', ETag: '"e"', ...XML }, body });
  await assertFails(keysOf(store, ''), { kind: 'permanent', says: /not S3/ });
  const target = Buffer.alloc(100);
  const reader = await store.open('k');
  assert.equal(await reader.read(target), body.length);
  assert.deepEqual(target.subarray(0, body.length), body);
  await reader.close();
});

test('a server that prints the request it got does not make us print our secrets', async (t) => {
  const credentials = credentialsFor({ ...KEY, secretAccessKey: SECRETS.secret, sessionToken: SECRETS.token });
  const encryption = { kind: 'customer-key', algorithm: 'AES256', key: new Secret(SECRETS.customerKey) } as const;
  for (const [status, type] of [
    [200, HTML],
    [400, HTML],
    [404, HTML],
    [400, XML],
  ] as const) {
    for (const value of [SECRETS.customerKey, SECRETS.token, SECRETS.secret]) {
      const body =
        type === XML ? `<Error><Code>Odd</Code><Message>${value}</Message></Error>` : `you sent ${value} and more`;
      const store = await storeThatHears(t, { status, headers: type, body }, { credentials, encryption });
      await everyVerb(async (verb, call) => {
        if (verb === 'open' && status === 200) return;
        await assertFails(call(store), { kind: 'permanent', says: /\(hidden\)/ });
      });
    }
  }
});

test('an answer that does not end is given up', async (t) => {
  const body = 'x'.repeat(17 << 20);
  const store = await storeThatHears(t, { headers: XML, body });
  await assertFails(keysOf(store, ''), { kind: 'permanent', says: /the answer does not end/ });
  const failing = await storeThatHears(t, { status: 400, headers: HTML, body });
  await assertFails(keysOf(failing, ''), { kind: 'permanent', says: /not S3 \(HTTP 400/ });
});

test('a header that a provider wants is on every request, and signed', async (t) => {
  const requiredHeader = ['X-Tigris-Consistent', 'true'] as const;
  const { fake, store } = await fakeStore(
    t,
    { requiredHeader, minPartBytes: 1 },
    { headers: Object.fromEntries([requiredHeader]), partSizeBytes: 1000 },
  );
  await store.put('k', { bytes: patternOf(1, 3000) }, { ifAbsent: true });
  assert.equal((await textOf(store, 'k')).length > 0, true);
  assert.deepEqual(await keysOf(store, ''), ['k']);
  await store.delete(['k']);
  for (const { headers } of fake.calls)
    assert.match(String(headers.authorization), /SignedHeaders=[^,]*x-tigris-consistent/);
});
