import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { retryAfterMs } from '../../src/store/s3/s3-connection.ts';
import type { RetryNotice } from '../../src/store/wrap/retry-policy.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { assertFails } from '../support/s3-failure.ts';
import { fakeStore, scriptedStore } from '../support/s3-stores.ts';
import { type Act, htmlPage, inTurn, type ScriptedAnswer, s3Error, XML } from '../support/scripted-server.ts';
import { bytesOf, keysOf, patternOf, textOf } from './conformance.ts';

const EMPTY: ScriptedAnswer = {
  headers: XML,
  body: '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
};

/** The pauses that answers lead to, none of which is waited for: the policy's limits keep them short. */
async function pausesAfter(t: TestContext, answers: readonly Act[]): Promise<number[]> {
  const pauses: number[] = [];
  const { store } = await scriptedStore(t, inTurn(...answers, EMPTY));
  const policy = { firstPauseMs: 0, longestPauseMs: 0, onRetry: ({ pauseMs }: RetryNotice) => pauses.push(pauseMs) };
  assert.deepEqual(await keysOf(new RetryingStore(store, policy), ''), []);
  return pauses;
}

test('a storm of failures that ends is survived by every verb', async (t) => {
  const storm: readonly Act[] = [
    s3Error(500, 'InternalError'),
    { status: 500 },
    htmlPage(502),
    s3Error(503, 'SlowDown', { headers: { 'Retry-After': '0' } }),
    'cut',
    'reset',
  ];
  const { fake, store } = await fakeStore(t);
  const retrying = new RetryingStore(store, { firstPauseMs: 0, longestPauseMs: 0 });
  const weather = async (work: () => Promise<unknown>): Promise<void> => {
    const left = [...storm];
    fake.instead = () => left.shift();
    await work();
    assert.equal(left.length, 0);
  };
  await weather(() => retrying.put('k', { bytes: bytesOf('body') }));
  await weather(async () => assert.equal(await textOf(retrying, 'k'), 'body'));
  await weather(async () => assert.deepEqual(await keysOf(retrying, ''), ['k']));
  await weather(async () => assert.deepEqual(await retrying.delete(['k']), [{ key: 'k', error: undefined }]));
  assert.equal(fake.objects.size, 0);
});

test('a storm that does not end is given up after the attempts that the policy allows, with the last error', async (t) => {
  const { server, store } = await scriptedStore(t, s3Error(500, 'InternalError'));
  const notices: RetryNotice[] = [];
  const retrying = new RetryingStore(store, {
    attempts: 5,
    firstPauseMs: 0,
    longestPauseMs: 0,
    onRetry: (notice) => notices.push(notice),
  });
  await assertFails(retrying.put('k', { bytes: bytesOf('x') }), {
    kind: 'transient',
    says: /the server failed \(InternalError, HTTP 500/,
  });
  assert.equal(server.requests.length, 5);
  assert.deepEqual(
    notices.map(({ attempt, what }) => [attempt, what]),
    [1, 2, 3, 4].map((n) => [n, 'storing s3://test-bucket/app/k']),
  );
});

test('failures that will not pass are not tried again', async (t) => {
  for (const [status, code] of [
    [403, 'AccessDenied'],
    [403, 'InvalidAccessKeyId'],
    [403, 'SignatureDoesNotMatch'],
    [403, 'RequestTimeTooSkewed'],
    [403, 'QuotaExceeded'],
    [404, 'NoSuchBucket'],
    [400, 'InvalidBucketName'],
    [400, 'AuthorizationHeaderMalformed'],
    [301, 'PermanentRedirect'],
    [400, 'EntityTooLarge'],
    [501, 'NotImplemented'],
    [400, 'SomethingNew'],
    [412, 'PreconditionFailed'],
  ] as const) {
    const { server, store } = await scriptedStore(t, s3Error(status, code));
    await assert.rejects(new RetryingStore(store).put('k', { bytes: bytesOf('x') }), new RegExp(code));
    assert.equal(server.requests.length, 1, code);
  }
});

test('a store that says for how long it wants to be left alone gets at least that', async (t) => {
  const [first = 0, second = 0] = await pausesAfter(t, [
    s3Error(503, 'SlowDown', { headers: { 'Retry-After': '1' } }),
    { status: 429, headers: { 'Retry-After': '0' } },
  ]);
  assert.ok(first >= 1000 && first <= 1250, String(first));
  assert.equal(second, 0);
});

test('a store that asks to slow down, and does not say for how long, gets a second', async (t) => {
  const [pause = 0] = await pausesAfter(t, [s3Error(503, 'SlowDown')]);
  assert.ok(pause >= 1000 && pause <= 1250, String(pause));
});

test('a store that wants to be left alone for longer than anybody waits is not waited for', async (t) => {
  const { server, store } = await scriptedStore(t, s3Error(503, 'SlowDown', { headers: { 'Retry-After': '3600' } }));
  const error = await assertFails(keysOf(new RetryingStore(store), ''), {
    kind: 'transient',
    says: /asks to slow down/,
  });
  assert.equal(error.retryAfterMs, 3_600_000);
  assert.equal(server.requests.length, 1);
});

test('a date to come back at is read by the clock of the server, not by that of this machine', async (t) => {
  for (const aheadMs of [0, -3_600_000, 3_600_000]) {
    const nowMs = Math.floor(Date.now() / 1000) * 1000 + aheadMs;
    const headers = { Date: new Date(nowMs).toUTCString(), 'Retry-After': new Date(nowMs + 7000).toUTCString() };
    const { store } = await scriptedStore(t, s3Error(503, 'SlowDown', { headers }));
    const error = await assertFails(keysOf(store, ''), { kind: 'transient', says: /asks to slow down/ });
    assert.equal(error.retryAfterMs, 7000);
  }
});

test('what is no time to come back at is not waited for', () => {
  const nowMs = Date.parse('2024-01-01T00:00:00Z');
  assert.equal(retryAfterMs(undefined, nowMs), undefined);
  assert.equal(retryAfterMs('soon', nowMs), undefined);
  assert.equal(retryAfterMs('', nowMs), undefined);
  assert.equal(retryAfterMs('Mon, 01 Jan 2024 00:00:30 GMT', nowMs), 30_000);
  assert.equal(retryAfterMs('Mon, 01 Jan 2023 00:00:30 GMT', nowMs), 0);
  assert.equal(retryAfterMs(' 12 ', nowMs), 12_000);
});

test('a listing that fails on a later page goes on after the last key it gave', async (t) => {
  const { fake, store } = await fakeStore(t, { pageObjects: 3 });
  const keys = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, '0')}`);
  for (const key of keys) fake.store(`app/${key}`, 'x');
  let count = 0;
  fake.instead = () => (++count % 3 === 0 ? s3Error(500, 'InternalError') : undefined);
  assert.deepEqual(await keysOf(new RetryingStore(store, { firstPauseMs: 0, longestPauseMs: 0 }), ''), keys);
  const starts = fake.calls.map(({ query }) => query.get('start-after')).filter((start) => start !== undefined);
  assert.ok(starts.length > 0 && starts.every((start) => keys.includes(start.slice('app/'.length))));
});

test('a put whose answer is lost is stored once more, and is the same object', async (t) => {
  const { fake, store } = await fakeStore(t);
  let lost = 1;
  fake.instead = (call) => {
    if (lost-- <= 0) return undefined;
    fake.store(call.key, call.body);
    return 'cut';
  };
  await new RetryingStore(store, { firstPauseMs: 0, longestPauseMs: 0 }).put('k', { bytes: patternOf(1, 5000) });
  assert.deepEqual(fake.objects.get('app/k')?.bytes, Buffer.from(patternOf(1, 5000)));
  assert.equal(fake.calls.length, 2);
});
