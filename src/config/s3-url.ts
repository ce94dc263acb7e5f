import type { RivuletError } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { parseEndpoint } from './endpoint.ts';
import { parseFlag } from './flag.ts';
import { nearest } from './nearest.ts';
import { printableUrl } from './paths.ts';
import { parseS3Host } from './s3-host.ts';
import { MAX_CONCURRENCY, MAX_PART_SIZE_BYTES, MIN_PART_SIZE_BYTES, type S3Settings } from './s3-settings.ts';
import { parseSize } from './size.ts';
import { invalidUrl } from './url-error.ts';

/** What an `s3:` URL says. */
export interface S3Url {
  readonly bucket: string;
  readonly keyPrefix: string;
  /** By its parameters, and by its host. */
  readonly settings: S3Settings;
}

/** Reads the value of a parameter; undefined when it cannot be. */
type Reader<T> = (text: string) => T | undefined;

const PARAMETERS = {
  endpoint: (text) => parseEndpoint(text, 'by host'),
  region: (text) => text,
  'force-path-style': parseFlag,
  'skip-verify': parseFlag,
  'sign-payload': parseFlag,
  'require-content-md5': parseFlag,
  'storage-class': (text) => text,
  'part-size': partSize,
  concurrency,
  'sse-customer-algorithm': (text) => text,
  'sse-customer-key': (text) => new Secret(text),
  'sse-kms-key-id': (text) => text,
} as const satisfies { readonly [K in keyof S3Settings]: Reader<Exclude<S3Settings[K], undefined>> };

/** Carries the digest of the key for those who have it; the key says it all. */
const KEY_DIGEST = 'sse-customer-key-md5';

/**
 * Reads `s3://BUCKET/PATH?…` in every form that Litestream has: provider hosts, ARNs of access points, parameters in both
 * spellings (`forcePathStyle`, `force-path-style`). Throws REPLICA_URL_INVALID; no error says what a parameter holds.
 */
export function parseS3Url(typed: string): S3Url {
  const [, place = '', query = ''] = /^s3:\/\/([^?#]*)\??([^#]*)$/is.exec(typed) ?? [];
  if (typed.includes('#')) throw invalidUrl(`a # in the URL ${printableUrl(typed)}`, 'write %23 for a # in the path');
  const [, host = '', path] = (isArn(place) ? ARN : /^([^/]*)(\/.*)?$/s).exec(place) ?? [];
  if (host.includes('@')) throw withCredentials(typed);
  if (host === '') throw invalidUrl(`no bucket in the URL ${printableUrl(typed)}`, 'write s3://BUCKET/PATH');
  const parameters = readParameters(query);
  const keyPrefix = `${keyPathOf(path, isArn(place), typed)}/`;
  if (isArn(place)) return { bucket: host, keyPrefix, settings: parameters };
  const { bucket, region, endpoint, pathStyle } = parseS3Host(host);
  if (/:\d+$/.test(bucket)) {
    throw invalidUrl(`no bucket in the URL ${printableUrl(typed)}`, 'write s3://BUCKET/PATH?endpoint=HOST:PORT');
  }
  // The slash behind which the host seems to end may be one of a password.
  if (bucket.includes(':')) throw withCredentials(typed);
  // An endpoint that is named in a parameter has path style unless it says otherwise.
  const style = parameters.endpoint ? true : pathStyle;
  const settings = { region, endpoint, 'force-path-style': style, ...parameters };
  return { bucket, keyPrefix, settings };
}

/** The canonical spelling of a place in a bucket: {@link parseS3Url} reads it as just this place. */
export function formatS3Url(bucket: string, keyPrefix: string, endpoint: string | undefined): string {
  const query = endpoint ? `?endpoint=${endpoint.replace(/[%&+]/g, encodeURIComponent)}` : '';
  return `s3://${bucket}${formatKeyPath(keyPrefix.slice(0, -1))}${query}`;
}

function withCredentials(typed: string): RivuletError {
  return invalidUrl(
    `credentials in the URL ${printableUrl(typed.includes('@') ? typed : 's3://')}`,
    'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `access-key-id` and `secret-access-key` in a configuration',
  );
}

const ARN = /^(arn:[^/]*:accesspoint\/[^/]+)(\/.*)?$/is;

function isArn(place: string): boolean {
  return /^arn:/i.test(place);
}

/**
 * Litestream's reading of a URL's path: without slashes around it, `.` and `..` resolved. Its oddity is kept, so that its
 * replicas are found: `s3://bucket` is the folder `.`, and `s3://bucket/` the one without a name.
 */
function keyPathOf(path: string | undefined, ofArn: boolean, typed: string): string {
  if (path === undefined) return ofArn ? '' : '.';
  if (path.includes('//')) {
    throw invalidUrl(
      `the path has an empty part: ${printableUrl(typed)}`,
      'write one slash, or look for a variable that is empty',
    );
  }
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(decode(part, typed));
  }
  return parts.join('/');
}

function decode(part: string, typed: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalidUrl(`not percent-encoded: ${printableUrl(typed)}`, 'write %25 for a percent sign in the path');
  }
}

/** The inverse of {@link keyPathOf}; what it would clean away is percent-encoded. */
function formatKeyPath(path: string): string {
  if (path === '.') return '';
  const parts = path.split('/');
  const encoded = parts.map((part) => {
    if (part === '.' || part === '..') return part.replaceAll('.', '%2E');
    return encodeURIComponent(part).replace(/%(3A|3D|40|2B|2C|3B|24|26)/g, decodeURIComponent);
  });
  const joined = encoded.reduce((url, part, i) => url + (parts[i] === '' || parts[i - 1] === '' ? '%2F' : '/') + part);
  return `/${joined}`;
}

function readParameters(query: string): S3Settings {
  const found: Record<string, unknown> = {};
  for (const [name, text] of new URLSearchParams(query)) {
    const key = name.replace(/MD5$/, 'Md5').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (key === KEY_DIGEST) continue;
    const read = Object.entries<Reader<unknown>>(PARAMETERS).find(([known]) => known === key)?.[1];
    if (!read) throw unknownParameter(name, key);
    if (key in found || (text === '' && !key.startsWith('sse-'))) continue;
    found[key] = read(text);
    if (found[key] === undefined) throw invalidUrl(`the parameter ${name} of the URL is not valid`, HINTS[key]);
  }
  return found; // by key, what the reader of this key made
}

/** Its name is only told when it is nearly a known one: a key with an ampersand in it looks like a name, too. */
function unknownParameter(name: string, key: string): RivuletError {
  const near = nearest(key, Object.keys(PARAMETERS));
  return near
    ? invalidUrl(`unknown parameter of the URL: ${name}`, `did you mean \`${near}\`?`)
    : invalidUrl('unknown parameter of the URL', `known: ${Object.keys(PARAMETERS).join(', ')}`);
}

const FLAG_HINT = 'write true or false';
const HINTS: Readonly<Record<string, string>> = {
  'force-path-style': FLAG_HINT,
  'skip-verify': FLAG_HINT,
  'sign-payload': FLAG_HINT,
  'require-content-md5': FLAG_HINT,
  endpoint: 'write a host, or a URL such as https://s3.example.com',
  'part-size': 'write a size from 5MiB to 5GiB',
  concurrency: `write a whole number from 1 to ${MAX_CONCURRENCY}`,
};

function partSize(text: string): number | undefined {
  const bytes = parseSize(text);
  return bytes !== undefined && bytes >= MIN_PART_SIZE_BYTES && bytes <= MAX_PART_SIZE_BYTES ? bytes : undefined;
}

function concurrency(text: string): number | undefined {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  return count >= 1 && count <= MAX_CONCURRENCY ? count : undefined;
}
