// Looks for credentials as a store without configured ones does, and prints what it found, one line for each time.
// Usage: credentials-child.ts TIMES, or WORD to go on until it is the access key or the kind of the failure. Secrets are
// printed as their digests.
import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import type { Secret } from '../../src/base/secret.ts';
import { credentialsOf } from '../../src/store/s3/s3-credentials.ts';
import { StoreError } from '../../src/store/store.ts';
import { locationOf } from '../support/fake-s3.ts';

const digest = (secret: Secret | undefined): string | undefined =>
  secret && createHash('sha256').update(secret.reveal()).digest('hex');

interface Found {
  readonly accessKeyId?: string;
  readonly kind?: string;
  readonly [detail: string]: string | undefined;
}

async function look(find: () => ReturnType<ReturnType<typeof credentialsOf>>): Promise<Found> {
  try {
    const { accessKeyId, secretAccessKey, sessionToken } = await find();
    return { accessKeyId, secret: digest(secretAccessKey), token: digest(sessionToken) };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return {
      kind: error.kind,
      message: error.message,
      next: error.next,
      all: inspect(error, { depth: 9, showHidden: true }),
    };
  }
}

const [wanted = ''] = process.argv.slice(2);
const times = /^\d+$/.test(wanted) ? Number(wanted) : Number.POSITIVE_INFINITY;
let find: ReturnType<typeof credentialsOf> | undefined;
for (let i = 0; i < times; i++) {
  const found = await look(async () => {
    find ??= credentialsOf(locationOf({ credentials: undefined }));
    return find();
  });
  console.log(JSON.stringify(found));
  if (found.accessKeyId === wanted || found.kind === wanted) break;
  await new Promise((resolve) => setTimeout(resolve, 10));
}
