import { Secret } from '../../src/base/secret.ts';
import type { S3Location } from '../../src/config/s3-location.ts';
import { S3Store } from '../../src/store/s3/s3-store.ts';
import { FakeS3, type FakeS3Options } from '../support/fake-s3.ts';
import { toLoopback } from '../support/loopback.ts';
import { conformance, type Supports } from './conformance.ts';

const CUSTOMER_KEY = Buffer.alloc(32, 'k').toString('base64');

function suite(
  name: string,
  options: FakeS3Options,
  changes: Partial<S3Location>,
  supports: Partial<Supports> = {},
): void {
  conformance(name, async () => {
    const undo: (() => unknown)[] = [];
    const fake = await FakeS3.start({ after: (work) => void undo.push(work) }, { minPartBytes: 1, ...options });
    return {
      store: new S3Store(fake.location(changes), { env: {}, lookup: toLoopback }),
      supports: { ifAbsent: true, timestamps: false, ...supports },
      cleanup: async () => {
        for (const work of undo) await work();
      },
    };
  });
}

suite('S3: the bucket in the path, bodies signed', {}, {});
suite('S3: the bucket in the host name, bodies not signed', { hostSuffix: 's3.test' }, { signPayload: false });
suite(
  'S3: pages of 7 objects, parts of 1 MiB, a key of the customer, a prefix of odd characters',
  { pageObjects: 7 },
  {
    keyPrefix: 'ä +%/q\'"<&>/',
    partSizeBytes: 1 << 20,
    encryption: { kind: 'customer-key', algorithm: 'AES256', key: new Secret(CUSTOMER_KEY) },
  },
);
suite(
  'S3: conditions refused, no batch delete',
  { conditionalWrites: 'refused', batchDelete: 'missing' },
  {},
  { ifAbsent: false },
);
suite(
  'S3: conditions ignored, temporary credentials',
  {
    conditionalWrites: 'ignored',
    keys: [{ accessKeyId: 'ASIATEMP', secretAccessKey: 'tempsecret/+=', sessionToken: 'token/+=with//slashes==' }],
  },
  {},
  { ifAbsent: false },
);
