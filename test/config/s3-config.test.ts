import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import type { ReplicaConfig } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { type LoadOptions, parseConfig } from '../../src/config/load-config.ts';
import type { S3Location } from '../../src/config/s3-location.ts';
import { tempFolder } from '../support/temp.ts';

const KEY = Buffer.from('01234567890123456789012345678901').toString('base64');

type S3Replica = Extract<ReplicaConfig, S3Location>;

/** The replica of a database whose replica has `keys`, with `top` before it. */
function replica(keys: string, top = '', options: LoadOptions = { env: {} }): S3Replica {
  const config = parseConfig(`${top}\ndbs: [{path: /a, replica: {${keys}}}]`, 'c.yml', options);
  const found = config.dbs[0]?.replica;
  assert.ok(found?.type === 's3');
  return found;
}

function failure(keys: string, top = '', options: LoadOptions = { env: {} }): ConfigError {
  try {
    replica(keys, top, options);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`no error for ${keys}`);
}

// As Litestream 0.5.17 wrote them into a real bucket.
const KEY_PREFIXES: [string, string][] = [
  ['path: app', 'app/'],
  ['path: /app', '/app/'],
  ['path: app/', 'app//'],
  ['path: a/./b/../c', 'a/./b/../c/'],
  ['path: .', './'],
  ['path: ""', '/'],
  ['path: ', '/'],
  ['path: "a b%20c"', 'a b%20c/'],
  ['path: "ü+#?"', 'ü+#?/'],
];

test('a path is taken as it is, as Litestream does', () => {
  for (const [path, keyPrefix] of KEY_PREFIXES) {
    assert.equal(replica(`type: s3, bucket: bkt, ${path}`).keyPrefix, keyPrefix, path);
  }
});

test('every key of a bucket reaches the location', () => {
  const found = replica(
    `type: s3, bucket: bkt, path: app, endpoint: "s3.example.com:9000", region: r, force-path-style: false,
     access-key-id: id, secret-access-key: se, session-token: to, sign-payload: false, require-content-md5: false,
     skip-verify: true, root-cas: [/ca/a.pem, /ca/b.pem], storage-class: GLACIER, part-size: 10MiB, concurrency: 7,
     sse-customer-key: ${KEY}, max-connections: 9, upload-limit: 5MiB/s, download-limit: 1MB, sync-interval: 3s`,
  );
  const { credentials, encryption, ...rest } = found;
  assert.deepEqual(rest, {
    type: 's3',
    url: 's3://bkt/app?endpoint=https://s3.example.com:9000',
    bucket: 'bkt',
    keyPrefix: 'app/',
    endpoint: 'https://s3.example.com:9000',
    region: 'r',
    pathStyle: false,
    signPayload: false,
    contentMd5: false,
    skipVerify: true,
    rootCas: ['/ca/a.pem', '/ca/b.pem'],
    storageClass: 'GLACIER',
    partSizeBytes: 10_485_760,
    concurrency: 7,
    headers: {},
    syncIntervalMs: 3000,
    limits: { maxConnections: 9, uploadBytesPerSecond: 5_242_880, downloadBytesPerSecond: 1_000_000 },
  });
  assert.equal(credentials?.accessKeyId, 'id');
  assert.equal(credentials.secretAccessKey.reveal(), 'se');
  assert.equal(credentials.sessionToken?.reveal(), 'to');
  assert.ok(encryption?.kind === 'customer-key' && encryption.key.reveal() === KEY);
});

test('an access point has the region of its ARN, and files may be in the home folder', () => {
  const found = replica('type: s3, bucket: "arn:aws:s3:eu-west-1:1:accesspoint/name", root-cas: ~/ca.pem');
  assert.deepEqual(
    [found.region, found.pathStyle, found.rootCas],
    ['eu-west-1', false, [resolve(homedir(), 'ca.pem')]],
  );
});

test('an endpoint without a scheme is https, on this machine too, as in Litestream', () => {
  assert.equal(replica('type: s3, bucket: b, endpoint: "localhost:9000"').endpoint, 'https://localhost:9000');
  assert.equal(replica('type: s3, bucket: b, endpoint: "http://minio:9000/"').endpoint, 'http://minio:9000');
});

test('an IP address as endpoint has path style: no bucket can stand before it', () => {
  const style = (endpoint: string): boolean =>
    replica(`type: s3, bucket: b, force-path-style: false, endpoint: "${endpoint}"`).pathStyle;
  assert.deepEqual(['10.0.0.1:9000', 'http://[::1]:9000', 's3.example.com'].map(style), [true, true, false]);
});

test('what the top sets holds for every replica that does not set it, but not for what it has no use for', () => {
  const top = `access-key-id: id\nsecret-access-key: se\nregion: top\nendpoint: h\nbucket: shared\npart-size: 6MiB
concurrency: 3\nmax-connections: 2\nupload-limit: 1MB\nsse-kms-key-id: k\naccount-name: x\nhost-key: y`;
  const own = replica('type: s3, path: p, region: own, concurrency: 4', top);
  assert.deepEqual(
    [own.bucket, own.region, own.endpoint, own.partSizeBytes, own.concurrency, own.credentials?.accessKeyId],
    ['shared', 'own', 'https://h', 6_291_456, 4, 'id'],
  );
  assert.deepEqual([own.limits.maxConnections, own.limits.uploadBytesPerSecond], [2, 1_000_000]);
  assert.deepEqual(own.encryption, { kind: 'kms', keyId: 'k' });
  assert.equal(replica('url: "s3://mine/p"', top).bucket, 'mine');
  const file = parseConfig(`${top}\ndbs: [{path: /a, replica: {path: /r}}]`, 'c.yml').dbs[0]?.replica;
  assert.deepEqual(file, {
    type: 'file',
    path: '/r',
    url: 'file:///r',
    syncIntervalMs: 1000,
    limits: { maxConnections: 2, uploadBytesPerSecond: 1_000_000, downloadBytesPerSecond: Number.POSITIVE_INFINITY },
  });
});

test('keys win over the parameters of a URL', () => {
  const url = 's3://b/p?endpoint=u.example.com&region=u&partSize=7340032&skipVerify=true&forcePathStyle=false';
  const plain = replica(`url: "${url}"`);
  assert.deepEqual([plain.endpoint, plain.region, plain.pathStyle], ['https://u.example.com', 'u', false]);
  const keys = replica(`url: "${url}", endpoint: k, region: k, part-size: 5MiB, skip-verify: false`);
  assert.deepEqual(
    [keys.endpoint, keys.region, keys.partSizeBytes, keys.skipVerify, keys.pathStyle],
    ['https://k', 'k', 5_242_880, false, true],
  );
});

test('a customer key can be in a file', (t) => {
  const path = join(tempFolder(t), 'sse.key');
  writeFileSync(path, `${KEY}\n`);
  const { encryption } = replica(`type: s3, bucket: b, sse-customer-key-path: ${path}`);
  assert.ok(encryption?.kind === 'customer-key' && encryption.key.reveal() === KEY);
});

/** Each case: the keys, what the message says, what to do, and where it is (line and column; the keys are on line 2). */
const WRONG: [string, RegExp, (RegExp | undefined)?, [number, number]?][] = [
  ['type: s3', /bucket required for s3 replica/],
  ['bucket: b, path: p', /bucket: a replica of type file has no such key/, /add `type: s3`/, [2, 28]],
  ['path: /r, sse-kms-key-id: k', /sse-kms-key-id: a replica of type file has no such key/, /type: s3/],
  ['type: file, path: /r, region: r', /region: a replica of type file/, /one of s3, oss/],
  ['type: s3, bucket: b, account-name: x', /account-name: a replica of type s3 has no such key/, /abs/],
  ['url: "s3://b/p", path: q', /cannot specify url & path for s3 replica/],
  ['url: "s3://b/p", bucket: c', /cannot specify url & bucket for s3 replica/],
  ['type: s3, bucket: b, path: "s3://c/d"', /cannot be a url/],
  ['type: s3, url: b/p', /not a URL, which begins with s3:\/\//],
  ['type: s3, bucket: b/p', /not a name of a bucket/, /`path`/],
  ['type: s3, bucket: b, path: x//y', /path has an empty part: x\/\/y/, /variable that is empty/, [2, 55]],
  ['type: s3, bucket: b, endpoint: "https://u:p@h"', /not an address of a store/, undefined, [2, 59]],
  ['type: s3, bucket: b, access-key-id: x', /`access-key-id` is set and `secret-access-key` is not/, /set `secret-acc/],
  ['type: s3, bucket: b, secret-access-key: x', /`secret-access-key` is set and `access-key-id` is not/],
  ['type: s3, bucket: b, access-key-id: x, secret-access-key: ""', /`secret-access-key` is not/],
  ['type: s3, bucket: b, session-token: x', /`session-token` is set and `access-key-id` is not/],
  ['type: s3, bucket: b, part-size: 5MB', /must be at least 5MiB \(got 5000000\)/],
  ['type: s3, bucket: b, part-size: 6GiB', /must be at most 5368709120/],
  ['type: s3, bucket: b, concurrency: 0', /must be at least 1/],
  ['type: s3, bucket: b, max-connections: 0', /must be at least 1/],
  ['type: s3, bucket: b, upload-limit: fast', /size a second/],
  ['type: s3, bucket: b, root-cas: {a: b}', /list of texts/],
  ['type: s3, bucket: b, sse-customer-key: ""', /32 bytes in base64/],
  ['type: s3, bucket: b, sse-customer-key: c2hvcnQ=', /32 bytes in base64/, /openssl rand/],
  ['type: s3, bucket: b, sse-customer-algorithm: AES256', /set without a key/],
  [`type: s3, bucket: b, sse-customer-algorithm: DES, sse-customer-key: ${KEY}`, /must be AES256/],
  [`type: s3, bucket: b, sse-kms-key-id: k, sse-customer-key: ${KEY}`, /exclude each other/],
  ['type: s3, bucket: b, sse-kms-key-id: ""', /sse-kms-key-id is empty/],
  [`type: s3, bucket: b, sse-customer-key: ${KEY}, sse-customer-key-path: /x`, /both set/],
  ['type: s3, bucket: b, sse-customer-key-path: /dev/zero', /sse-customer-key-path must be 32 bytes in base64/],
  ['type: s3, bucket: b, sse-customer-key-path: /none/x', /cannot read the key: .*\/none\/x/],
  [`type: s3, bucket: b, endpoint: "http://s3.example.com", sse-customer-key: ${KEY}`, /plain HTTP/, /https/],
  ['type: s3, bucket: b, sse: AES256', /`sse` is known to Litestream and not built/],
];

test('what cannot be, or could not be kept, is refused', () => {
  for (const [keys, message, next, place] of WRONG) {
    const error = failure(keys);
    assert.match(error.message, message, keys);
    if (next) assert.match(error.next ?? '', next, keys);
    if (place) assert.deepEqual([error.problems[0]?.line, error.problems[0]?.column], place, keys);
  }
});

test('what is wrong with a setting of the top is told of its place there', () => {
  const [problem] = failure('type: s3, bucket: b', 'region: x\nendpoint: "ftp://x"').problems;
  assert.deepEqual([problem?.line, problem?.column], [2, 11]);
});

test('a path that lost a part to an empty variable is refused, wherever the part is', () => {
  const env = { EMPTY: '', APP: 'app', ROOTED: '/app' };
  const refused = ['$EMPTY', 'app/$EMPTY', '$EMPTY/app', 'a/$EMPTY/b', '/$EMPTY', `a/\${EMPTY:-}`, '$EMPTY$EMPTY'];
  for (const path of refused) {
    assert.match(failure(`type: s3, bucket: b, path: "${path}"`, '', { env }).message, /empty part/, path);
    assert.match(failure(`url: "s3://b/${path}?region=r"`, '', { env }).message, /empty part/, path);
  }
  assert.match(failure('path: "/backups/$EMPTY"', '', { env }).message, /the path has an empty part/);
  assert.match(failure('url: "s3://$EMPTY/app"', '', { env }).message, /empty part/);
  const accepted: [string, string][] = [
    ['app-$EMPTY/x', 'app-/x/'],
    ['/app$EMPTY', '/app/'],
    ['$ROOTED', '/app/'],
    ['$APP/x', 'app/x/'],
    [`\${EMPTY:-x}`, 'x/'],
  ];
  for (const [path, keyPrefix] of accepted) {
    assert.equal(replica(`type: s3, bucket: b, path: "${path}"`, '', { env }).keyPrefix, keyPrefix, path);
  }
});

test('two databases with one place in a bucket are refused, however it is written', () => {
  const text = (one: string, other: string) => `dbs: [{path: /a, replica: {${one}}}, {path: /b, replica: {${other}}}]`;
  const same = text('type: s3, bucket: b, path: app', 'url: "s3://b/app/"');
  assert.throws(() => parseConfig(same, 'c.yml'), /dbs\[1\] and dbs\[0\] have the same replica, s3:\/\/b\/app/);
  const twoStores = text('url: "s3://b/app"', 'url: "s3://b/app?endpoint=h"');
  assert.equal(parseConfig(twoStores, 'c.yml').dbs.length, 2);
});

test('a password of digits is kept as it is written', () => {
  const { credentials } = replica('type: s3, bucket: b, access-key-id: 0012, secret-access-key: 12345678901234567890');
  assert.equal(credentials?.accessKeyId, '0012');
  assert.equal(credentials.secretAccessKey.reveal(), '12345678901234567890');
});

const LEAKS: string[] = [
  'secret-access-key: [SECRET]',
  'secret-access-key: {SECRET: x}',
  'secret-access-key: *SECRET',
  'secret-access-key: !SECRET x',
  'access-key-id: x\nsecret-access-key: &SECRET',
  'secret-access-key: %SECRET\n  x: [',
  'secret-access-key: "\\qSECRET"',
  'secret-access-key: |SECRET\n  x',
  'secret-access-key: @SECRET',
  'secret-access-key: "x" SECRET',
  'secret-access-key: SECRET: x',
  'secret-access-key: ${SECRET',
  `secret-access-key: \${SECRET x}`,
  'secret-access-key: a$SECRET',
  'secret-access-key: $SECRET',
  'secret-access-key:SECRET',
  'secret-access-key SECRET',
  'secret-acess-key: SECRET',
  'sse-customer-key: SECRET',
  'password: [SECRET',
  'session-token: SECRET',
  'url: s3://x:SECRET@b/p',
  'url: s3://b/p?sseCustomerKey=SECRET',
  'path: s3://b/p?sseCustomerKey=SECRET',
  'endpoint: https://x:SECRET@h',
];

test('no error of a configuration repeats a secret', () => {
  for (const line of LEAKS) {
    const text = `dbs:\n  - path: /a\n    replica:\n      type: s3\n      bucket: bkt\n      ${line.replace('SECRET', 'hunter2Q9').replaceAll('\n', '\n      ')}\n`;
    try {
      parseConfig(text, 'c.yml', { env: {} });
      assert.fail(`no error for ${line}`);
    } catch (error) {
      assert.ok(error instanceof ConfigError, `${line}: ${error}`);
      assert.ok(!inspect(error, { depth: 9, showHidden: true }).includes('hunter2Q9'), `${line}: ${error.message}`);
    }
  }
});

test('a variable that a secret is to come from is named when it is not set', () => {
  const named = ['$AWS_SECRET_ACCESS_KEY', `\${AWS_SECRET_ACCESS_KEY}`, `\${AWS_SECRET_ACCESS_KEY:?ask ann}`];
  for (const reference of named) {
    const error = failure(`type: s3, bucket: b, secret-access-key: "${reference}"`);
    assert.match(error.message, /variable AWS_SECRET_ACCESS_KEY is/);
  }
});

test('a configuration that is printed shows no secret', () => {
  const config = parseConfig(
    `access-key-id: public\nsecret-access-key: hunter2A\nsession-token: hunter2B
dbs: [{path: /a, replica: {url: "s3://b/p?sseCustomerKey=${encodeURIComponent(KEY)}"}}]`,
    'c.yml',
  );
  for (const text of [JSON.stringify(config), inspect(config, { depth: 9, showHidden: true }), String(config)]) {
    assert.ok(!/hunter2/.test(text) && !text.includes(KEY), text);
  }
  assert.match(JSON.stringify(config), /public/);
});
