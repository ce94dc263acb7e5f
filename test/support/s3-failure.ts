import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { StoreError, type StoreErrorKind } from '../../src/store/store.ts';
import { KEY } from './fake-s3.ts';

/** Texts that tests use as secrets, and that nothing may show. */
export const SECRETS = {
  secret: KEY.secretAccessKey,
  wrongSecret: 'wr0ng/secret+of=the-tests0123456789abcdef',
  token: 'session/token+of==the-tests',
  customerKey: Buffer.alloc(32, 'customer key of the tests').toString('base64'),
};

export interface Expected {
  readonly kind: StoreErrorKind;
  /** What the message says; several: each of them. */
  readonly says: RegExp | readonly RegExp[];
  /** What the advice says. */
  readonly next?: RegExp | undefined;
}

/** The failure of `work`, which must be one clear error of this kind, and show no secret. */
export async function assertFails(work: Promise<unknown>, expected: Expected): Promise<StoreError> {
  const error = await failureOf(work);
  assert.ok(error instanceof StoreError, `an error of the store's: ${inspect(error)}`);
  assertNoSecrets(error);
  for (const pattern of [expected.says].flat()) assert.match(error.message, pattern);
  assert.equal(error.kind, expected.kind, error.message);
  if (expected.next) assert.match(error.next ?? '', expected.next, error.message);
  assert.doesNotMatch(`${error.message} ${error.kept} ${error.next}`, /\n|\[object|Invalid Date|NaN/);
  assert.match(
    error.message,
    /^(cannot |the certificates of |the clock |the access key |the secret |the session |no credentials |AWS_|LITESTREAM_)/,
  );
  return error;
}

export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    (value) => assert.fail(`it succeeded: ${inspect(value)}`),
    (error: unknown) => error,
  );
}

/** Nothing that can be printed of an error, its causes and everything on them may be a secret. */
export function assertNoSecrets(thing: unknown): void {
  const said = thing instanceof StoreError ? [thing.message, thing.kept, thing.next, thing.stack].join('\n') : '';
  const printed = said + inspect(thing, { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null });
  for (const [name, secret] of Object.entries(SECRETS)) {
    assert.ok(!printed.includes(secret), `the ${name} is shown: ${said}`);
  }
}
