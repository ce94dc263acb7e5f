import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { RivuletError } from '../../src/base/errors.ts';
import { parseReplicaUrl } from '../../src/config/replica-url.ts';
import type { S3Location } from '../../src/config/s3-location.ts';
import { formatS3Url, parseS3Url } from '../../src/config/s3-url.ts';

const KEY = Buffer.from('01234567890123456789012345678901').toString('base64');

function s3(url: string): S3Location {
  const location = parseReplicaUrl(url);
  assert.ok(location.type === 's3');
  return location;
}

function failure(url: string): RivuletError {
  try {
    parseReplicaUrl(url);
  } catch (error) {
    if (error instanceof RivuletError) return error;
    throw error;
  }
  throw new Error(`no error for ${url}`);
}

test('a bucket and a path have the defaults of Amazon', () => {
  assert.deepEqual(s3('s3://backups/app'), {
    type: 's3',
    url: 's3://backups/app',
    bucket: 'backups',
    keyPrefix: 'app/',
    endpoint: undefined,
    region: undefined,
    pathStyle: false,
    credentials: undefined,
    signPayload: true,
    contentMd5: true,
    skipVerify: false,
    rootCas: [],
    storageClass: undefined,
    encryption: undefined,
    partSizeBytes: 5_242_880,
    concurrency: 5,
    headers: {},
  });
});

// As Litestream 0.5.17 wrote them into a real bucket.
const KEY_PREFIXES: [string, string][] = [
  ['s3://b', './'],
  ['s3://b/', '/'],
  ['s3://b/.', '/'],
  ['s3://b?region=default', './'],
  ['s3://b/x?region=default', 'x/'],
  ['s3://b/a/b/', 'a/b/'],
  ['s3://b/a b', 'a b/'],
  ['s3://b/a%20b%2Fc', 'a b/c/'],
  ['s3://b/a+b', 'a+b/'],
  ['s3://b/a/../c', 'c/'],
  ['s3://b/../x', 'x/'],
  ['S3://b/x', 'x/'],
];

test('keys start with what those of Litestream start with', () => {
  for (const [url, keyPrefix] of KEY_PREFIXES) assert.equal(s3(url).keyPrefix, keyPrefix, url);
});

test('each place in a bucket has one URL, which leads back to it', () => {
  const path = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'./a%2F ?#&+@:é') }),
    fc.string({ unit: 'grapheme' }).filter((text) => text.isWellFormed()),
  );
  const endpoint = fc.constantFrom(undefined, 'https://h', 'http://h:9/base/s3', 'https://h/a%20&b+c');
  fc.assert(
    fc.property(path, endpoint, (text, origin) => {
      const url = formatS3Url('bucket', `${text}/`, origin);
      const back = parseS3Url(url);
      assert.deepEqual([back.bucket, back.keyPrefix], ['bucket', `${text}/`], url);
      assert.equal(back.settings.endpoint, origin, url);
    }),
  );
});

test('the host of a provider says bucket, region and endpoint', () => {
  const of = (url: string) => {
    const { bucket, region, endpoint, pathStyle, keyPrefix } = s3(url);
    return [bucket, region, endpoint, pathStyle, keyPrefix];
  };
  const none = undefined;
  assert.deepEqual(of('s3://b.s3.amazonaws.com/p'), ['b', none, none, false, 'p/']);
  assert.deepEqual(of('s3://b.s3.eu-west-1.amazonaws.com/p'), ['b', 'eu-west-1', none, false, 'p/']);
  const spaces = ['b', 'nyc3', 'https://nyc3.digitaloceanspaces.com', false, 'p/'];
  assert.deepEqual(of('s3://b.nyc3.digitaloceanspaces.com/p'), spaces);
  const b2 = ['b', 'us-west-000', 'https://s3.us-west-000.backblazeb2.com', true, 'p/'];
  assert.deepEqual(of('s3://b.s3.us-west-000.backblazeb2.com/p'), b2);
  assert.deepEqual(of('s3://b.s3.filebase.com/p'), ['b', 'us-east-1', 'https://s3.filebase.com', true, 'p/']);
  assert.deepEqual(of('s3://b.s3.nl-ams.scw.cloud/p'), ['b', 'nl-ams', 'https://s3.nl-ams.scw.cloud', false, 'p/']);
  assert.deepEqual(of('s3://b.localhost:9000/p'), ['b', 'us-east-1', 'http://localhost:9000', true, 'p/']);
  assert.deepEqual(of('s3://b.minio.lan:9000/p'), ['b', 'us-east-1', 'http://minio.lan:9000', true, 'p/']);
  // A bucket whose name has dots is not within the certificate of *.s3.amazonaws.com.
  assert.deepEqual(of('s3://my.bucket/p'), ['my.bucket', none, none, true, 'p/']);
});

test('an access point is named by its ARN, which has the region', () => {
  const arn = 'arn:aws:s3:us-east-2:123456789012:accesspoint/name';
  const { bucket, region, pathStyle, keyPrefix, url } = s3(`s3://${arn}/db/app?storageClass=STANDARD_IA`);
  assert.deepEqual([bucket, region, pathStyle, keyPrefix], [arn, 'us-east-2', false, 'db/app/']);
  assert.equal(url, `s3://${arn}/db/app`);
  assert.equal(s3(`s3://${arn}`).keyPrefix, '/');
  assert.match(failure('s3://arn:aws:s3:us-east-2:1:bucket/x').message, /no bucket/);
});

test('parameters are read in both spellings', () => {
  const camel = `s3://b/p?region=r&forcePathStyle=true&skipVerify=1&signPayload=no&requireContentMD5=false&storageClass=GLACIER&partSize=10485760&concurrency=9&sseCustomerAlgorithm=AES256&sseCustomerKey=${encodeURIComponent(KEY)}&sseCustomerKeyMD5=x`;
  const location = s3(camel);
  assert.deepEqual(
    { ...location, encryption: undefined },
    {
      ...s3('s3://b/p'),
      region: 'r',
      pathStyle: true,
      skipVerify: true,
      signPayload: false,
      contentMd5: false,
      storageClass: 'GLACIER',
      partSizeBytes: 10_485_760,
      concurrency: 9,
    },
  );
  assert.ok(location.encryption?.kind === 'customer-key');
  assert.equal(location.encryption.key.reveal(), KEY);
  const hyphens = camel.replace(/(?<=[?&])\w+(?==)/g, (name) =>
    name.replace('MD5', 'Md5').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  );
  assert.deepEqual(inspect(s3(hyphens)), inspect(location));
  assert.deepEqual(s3('s3://b/p?sseKmsKeyId=k').encryption, { kind: 'kms', keyId: 'k' });
});

test('an endpoint in a URL is https, and http where the host is near', () => {
  const endpointOf = (endpoint: string) => s3(`s3://b/p?endpoint=${endpoint}`).endpoint;
  const cases: [string, string][] = [
    ['s3.example.com', 'https://s3.example.com'],
    ['s3.example.com:9000/', 'https://s3.example.com:9000'],
    ['http://s3.example.com', 'http://s3.example.com'],
    ['localhost:9000', 'http://localhost:9000'],
    ['localhost:443', 'http://localhost:443'],
    ['minio.local', 'http://minio.local'],
    ['10.1.2.3:80', 'http://10.1.2.3'],
    ['[::1]:9000', 'http://[::1]:9000'],
    ['172.16.0.1', 'http://172.16.0.1'],
    ['172.200.0.1', 'https://172.200.0.1'],
    ['10.example.com', 'https://10.example.com'],
    ['https://localhost:9000', 'https://localhost:9000'],
    ['https://x.supabase.co/storage/v1/s3', 'https://x.supabase.co/storage/v1/s3'],
  ];
  for (const [typed, endpoint] of cases) assert.equal(endpointOf(typed), endpoint, typed);
  assert.equal(s3('s3://b/p?endpoint=h').pathStyle, true);
  assert.equal(s3('s3://b/p?endpoint=h').region, 'us-east-1');
  assert.equal(s3('s3://b/p?endpoint=h&forcePathStyle=false').pathStyle, false);
  assert.equal(s3('s3://b/p?endpoint=h').url, 's3://b/p?endpoint=https://h');
});

test('a provider is known by its endpoint', () => {
  const of = (endpoint: string) => s3(`s3://b/p?endpoint=${endpoint}`);
  for (const host of ['fly.storage.tigris.dev', 't3.storage.dev']) {
    assert.deepEqual(of(host).headers, { 'X-Tigris-Consistent': 'true' });
    assert.equal(of(host).contentMd5, false);
  }
  assert.equal(s3('s3://b/p?endpoint=t3.storage.dev&requireContentMD5=true').contentMd5, true);
  assert.equal(of('not-t3.storage.dev').contentMd5, true);
  assert.equal(of('abc.r2.cloudflarestorage.com').concurrency, 2);
  assert.equal(s3('s3://b/p?endpoint=abc.r2.cloudflarestorage.com&concurrency=7').concurrency, 7);
  assert.equal(of('r2.cloudflarestorage.com.evil.example').concurrency, 5);
});

test('what is wrong with an s3 URL is said', () => {
  const cases: [string, RegExp, RegExp?][] = [
    ['s3://', /no bucket/, /s3:\/\/BUCKET/],
    ['s3:///x', /no bucket/],
    ['s3://b//x', /empty part/],
    ['s3://b/x//', /empty part/],
    ['s3://b/%zz', /not percent-encoded/, /%25/],
    ['s3://b/a#b', /a # in the URL/, /%23/],
    ['s3://b/a%00', /not a path/],
    ['s3://b c/x', /not a name of a bucket/],
    ['s3:b/x', /not a URL/, /s3:\/\//],
    ['s3://b/x?partSize=1MB', /partSize/, /5MiB to 5GiB/],
    ['s3://b/x?part-size=6GiB', /part-size/],
    ['s3://b/x?concurrency=0', /concurrency/],
    ['s3://b/x?concurrency=x', /concurrency/],
    ['s3://b/x?skipVerify=perhaps', /skipVerify/, /true or false/],
    ['s3://b/x?endpoint=ftp://x', /endpoint/, /https:\/\/s3\.example\.com/],
    ['s3://b/x?endpoint=https://u:p@x', /endpoint/],
    ['s3://b/x?endpiont=x', /unknown parameter of the URL: endpiont/, /did you mean `endpoint`/],
    ['s3://b/x?accessKeyId=x', /unknown parameter of the URL$/, /known: endpoint, region/],
    ['s3://u:p@b/x', /credentials in the URL s3:\/\/…@b\/x/, /AWS_ACCESS_KEY_ID/],
    ['s3://u:p/q@b/x', /credentials in the URL s3:\/\/…@b\/x$/],
    ['s3://b.example.com:9000/x', /no bucket in the URL/, /\?endpoint=HOST:PORT/],
    ['s3://b/x?endpoint=h%20i', /endpoint/],
    ['s3://b/x?sseCustomerKey=c2hvcnQ=', /32 bytes in base64/, /openssl rand/],
    ['s3://b/x?sseCustomerAlgorithm=AES256', /without a key/],
    ['s3://b/x?sseCustomerAlgorithm=DES&sseKmsKeyId=x', /must be AES256/],
    [`s3://b/x?sseKmsKeyId=k&sseCustomerKey=${encodeURIComponent(KEY)}`, /exclude each other/],
    [`s3://b/x?endpoint=http://example.com&sseCustomerKey=${encodeURIComponent(KEY)}`, /plain HTTP/, /https/],
  ];
  for (const [url, message, next] of cases) {
    const error = failure(url);
    assert.match(error.message, message, url);
    if (next) assert.match(error.next ?? '', next, url);
  }
  assert.ok(s3(`s3://b/x?endpoint=http://127.0.0.1:9&sseCustomerKey=${encodeURIComponent(KEY)}`).encryption);
});

test('no error and no printed location repeats what a URL holds in secret', () => {
  const secret = 'hunter2secret';
  const urls = [
    `s3://user:${secret}@bucket/x`,
    `s3://b/x?sseCustomerKey=${secret}`,
    `s3://b//x?sseCustomerKey=${secret}`,
    `s3://b/%zz?sseCustomerKey=${secret}`,
    `s3://b/x#${secret}`,
    `s3://b/x?${'y'.repeat(50)}${secret}`,
    `s3://b/x?partSize=${secret}`,
    `s3://b/x?endpoint=https://u:${secret}@h`,
    `s3:${'b'}?sseCustomerKey=${secret}`,
    `file:///a?key=${secret}`,
    `gs://u:${secret}@b`,
  ];
  for (const url of urls) {
    const { message, next, kept } = failure(url);
    assert.ok(!`${message} ${next} ${kept}`.includes(secret), `${url}: ${message}`);
  }
  const location = s3(`s3://b/x?sseCustomerKey=${encodeURIComponent(KEY)}`);
  for (const text of [JSON.stringify(location), inspect(location, { depth: 9, showHidden: true }), location.url]) {
    assert.ok(!text.includes(KEY) && !text.includes(encodeURIComponent(KEY)), text);
  }
});
