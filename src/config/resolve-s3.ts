import * as fs from 'node:fs';
import { messageOf, RivuletError } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { isAddress, isPrivateAddress, parseEndpoint } from './endpoint.ts';
import type { S3Credentials, S3Encryption, S3Location } from './s3-location.ts';
import { providerOf } from './s3-provider.ts';
import { MIN_PART_SIZE_BYTES, type S3Key, type S3Settings } from './s3-settings.ts';
import { formatS3Url, type S3Url } from './s3-url.ts';

const DEFAULT_CONCURRENCY = 5;
const SSE_KEY_BYTES = 32;
const MAX_KEY_FILE_BYTES = 4096;

/** A setting of a bucket that cannot be, alone or with the others. */
export class S3SettingError extends RivuletError {
  /** The key of the configuration that is at fault. */
  readonly key: S3Key | 'path';

  constructor(key: S3Key | 'path', message: string, next?: string) {
    super({ code: 'CONFIG_VALUE', message, ...(next && { next }) });
    this.key = key;
  }
}

/** The place that an `s3:` URL means, with what a configuration says beside it, which wins: the last level over the first. */
export function resolveS3Url(url: S3Url, ...levels: readonly S3Settings[]): S3Location {
  const settings = mergeS3(...levels);
  const endpoint = given(settings.endpoint);
  // An endpoint of the configuration is of path style, whatever a URL says that it replaces.
  const style = settings['force-path-style'] ?? (endpoint ? true : url.settings['force-path-style']);
  const merged = { ...mergeS3(url.settings, settings), 'force-path-style': style, bucket: url.bucket };
  return resolveS3(merged, url.keyPrefix);
}

/** The place that the keys `bucket` and `path` of a configuration mean: Litestream takes the path as it is. */
export function resolveS3Path(path: string, ...levels: readonly S3Settings[]): S3Location {
  if (path.includes('//')) {
    throw new S3SettingError(
      'path',
      `the path has an empty part: ${path}`,
      'write one slash, or look for a variable that is empty',
    );
  }
  return resolveS3(mergeS3(...levels), `${path}/`);
}

function resolveS3(settings: S3Settings, keyPrefix: string): S3Location {
  const bucket = checkBucket(given(settings.bucket));
  if (keyPrefix.includes('\0') || !keyPrefix.isWellFormed())
    throw new S3SettingError('path', 'not a path for a bucket');
  const endpoint = checkEndpoint(given(settings.endpoint));
  const provider = endpoint ? providerOf(endpoint) : {};
  return {
    type: 's3',
    url: formatS3Url(bucket, keyPrefix, endpoint),
    bucket,
    keyPrefix,
    endpoint,
    region: given(settings.region) ?? regionOfArn(bucket) ?? (endpoint ? 'us-east-1' : undefined),
    pathStyle: pathStyleOf(settings, bucket, endpoint),
    credentials: credentialsOf(settings),
    signPayload: settings['sign-payload'] ?? true,
    contentMd5: settings['require-content-md5'] ?? provider.contentMd5 ?? true,
    skipVerify: settings['skip-verify'] ?? false,
    rootCas: settings['root-cas'] ?? [],
    storageClass: given(settings['storage-class']),
    encryption: encryptionOf(settings, endpoint),
    partSizeBytes: settings['part-size'] ?? MIN_PART_SIZE_BYTES,
    concurrency: settings.concurrency ?? provider.concurrency ?? DEFAULT_CONCURRENCY,
    headers: provider.headers ?? {},
  };
}

function checkBucket(bucket: string | undefined): string {
  if (bucket === undefined) throw new S3SettingError('bucket', 'bucket required for s3 replica');
  if (bucket.startsWith('arn:') || /^[\w.:-]+$/.test(bucket)) return bucket;
  throw new S3SettingError('bucket', 'not a name of a bucket', 'a path within the bucket goes into `path`');
}

/** Whether a bucket can be the first label of a host that the certificate of `*.s3.amazonaws.com` is for. */
function isHostName(bucket: string): boolean {
  return bucket.startsWith('arn:') || /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(bucket);
}

function pathStyleOf(settings: S3Settings, bucket: string, endpoint: string | undefined): boolean {
  // No name can stand before an IP address.
  if (endpoint !== undefined && isAddress(new URL(endpoint).hostname)) return true;
  const provider = endpoint ? providerOf(endpoint) : {};
  return settings['force-path-style'] ?? provider.pathStyle ?? (endpoint !== undefined || !isHostName(bucket));
}

function regionOfArn(bucket: string): string | undefined {
  return (bucket.startsWith('arn:') && bucket.split(':')[3]) || undefined;
}

function checkEndpoint(typed: string | undefined): string | undefined {
  if (typed === undefined) return undefined;
  const endpoint = parseEndpoint(typed, 'https');
  if (endpoint) return endpoint;
  throw new S3SettingError(
    'endpoint',
    'not an address of a store',
    'write a host, or a URL such as https://s3.example.com; credentials have keys of their own',
  );
}

function credentialsOf(settings: S3Settings): S3Credentials | undefined {
  const accessKeyId = given(settings['access-key-id']);
  const secretAccessKey = givenSecret(settings['secret-access-key']);
  const sessionToken = givenSecret(settings['session-token']);
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey, sessionToken };
  if (accessKeyId) throw oneSided('access-key-id', 'secret-access-key');
  if (secretAccessKey) throw oneSided('secret-access-key', 'access-key-id');
  if (sessionToken) throw oneSided('session-token', 'access-key-id');
  return undefined;
}

function oneSided(present: S3Key, absent: S3Key): S3SettingError {
  return new S3SettingError(present, `\`${present}\` is set and \`${absent}\` is not`, `set \`${absent}\`, too`);
}

function encryptionOf(settings: S3Settings, endpoint: string | undefined): S3Encryption | undefined {
  const keyId = settings['sse-kms-key-id'];
  // An empty key is a variable that should have had one: nothing must be stored unencrypted for that reason.
  if (keyId === '') throw new S3SettingError('sse-kms-key-id', 'sse-kms-key-id is empty');
  const key = customerKey(settings);
  const algorithm = settings['sse-customer-algorithm'];
  if (algorithm !== undefined && algorithm !== 'AES256') {
    throw new S3SettingError('sse-customer-algorithm', 'sse-customer-algorithm must be AES256');
  }
  if (!key) {
    if (algorithm) {
      throw new S3SettingError(
        'sse-customer-algorithm',
        '`sse-customer-algorithm` is set without a key',
        'set `sse-customer-key` or `sse-customer-key-path`, too',
      );
    }
    return keyId === undefined ? undefined : { kind: 'kms', keyId };
  }
  if (keyId !== undefined) {
    throw new S3SettingError('sse-kms-key-id', '`sse-kms-key-id` and a customer key exclude each other');
  }
  if (endpoint?.startsWith('http:') && !isPrivateAddress(new URL(endpoint).hostname)) {
    throw new S3SettingError(
      'endpoint',
      'a customer key would cross the network readable: the endpoint is plain HTTP',
      'use https for this endpoint',
    );
  }
  return { kind: 'customer-key', algorithm: 'AES256', key };
}

/** The key is checked here, because a store that is told a wrong one keeps what nobody can read. */
function customerKey(settings: S3Settings): Secret | undefined {
  const inline = settings['sse-customer-key'];
  const path = settings['sse-customer-key-path'];
  if (inline === undefined && path === undefined) return undefined;
  if (inline !== undefined && path !== undefined) {
    throw new S3SettingError('sse-customer-key-path', '`sse-customer-key` and `sse-customer-key-path` are both set');
  }
  const key = path === undefined ? 'sse-customer-key' : 'sse-customer-key-path';
  const text = path === undefined ? (inline?.reveal() ?? '') : readKeyFile(path);
  const isBase64 = /^[A-Za-z0-9+/]{43}=$/.test(text);
  if (isBase64 && Buffer.from(text, 'base64').length === SSE_KEY_BYTES) return new Secret(text);
  throw new S3SettingError(
    key,
    `${key} must be ${SSE_KEY_BYTES} bytes in base64`,
    '`openssl rand -base64 32` makes one',
  );
}

function readKeyFile(path: string): string {
  try {
    // A device or a pipe may never end.
    const stats = fs.statSync(path);
    if (!stats.isFile() || stats.size > MAX_KEY_FILE_BYTES) return '';
    return fs.readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new S3SettingError('sse-customer-key-path', `cannot read the key: ${messageOf(error)}`);
  }
}

/** Litestream takes an empty text for none. */
function given(text: string | undefined): string | undefined {
  return text || undefined;
}

function givenSecret(secret: Secret | undefined): Secret | undefined {
  return secret?.reveal() ? secret : undefined;
}

function mergeS3(...levels: readonly S3Settings[]): S3Settings {
  return Object.assign({}, ...levels.map(withoutEmpty));
}

/**
 * Without what is absent or an empty text, so that spreading it keeps what is there. Encryption that was asked for stays,
 * however empty, to be refused.
 */
function withoutEmpty(settings: S3Settings): S3Settings {
  const isGiven = ([key, value]: [string, unknown]) => value !== undefined && (value !== '' || key.startsWith('sse-'));
  return Object.fromEntries(Object.entries(settings).filter(isGiven));
}
