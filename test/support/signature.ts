import { createHash, createHmac } from 'node:crypto';
import type { ReceivedRequest } from './scripted-server.ts';

export interface SigningKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** The code of what is wrong with a signature of version 4, and its region where that is it. */
export type SignatureFault =
  | 'MissingSecurityHeader'
  | 'AuthorizationHeaderMalformed'
  | 'InvalidAccessKeyId'
  | 'InvalidToken'
  | 'RequestTimeTooSkewed'
  | 'SignatureDoesNotMatch'
  | 'XAmzContentSHA256Mismatch';

const SKEW_MS = 15 * 60_000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

/** Computes the signature anew from what came over the wire. Undefined: it is right. */
export function checkSignature(
  request: ReceivedRequest,
  keys: readonly SigningKey[],
  region: string,
  nowMs: number,
): SignatureFault | undefined {
  const { headers } = request;
  const parts = AUTHORIZATION.exec(headers.authorization ?? '');
  const [, accessKeyId = '', day = '', scopeRegion = '', names = '', signature = ''] = parts ?? [];
  if (!parts) return 'MissingSecurityHeader';
  const key = keys.find((known) => known.accessKeyId === accessKeyId);
  if (!key) return 'InvalidAccessKeyId';
  if (headerOf(request, 'x-amz-security-token') !== (key.sessionToken ?? '')) return 'InvalidToken';
  if (scopeRegion !== region) return 'AuthorizationHeaderMalformed';
  const time = headerOf(request, 'x-amz-date');
  const [, date = '', hour, minute, second] = /^(\d{8})T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? [];
  const iso = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}T${hour}:${minute}:${second}Z`;
  if (date !== day || !(Math.abs(Date.parse(iso) - nowMs) <= SKEW_MS)) return 'RequestTimeTooSkewed';
  const signed = names.split(';');
  const mustBeSigned = Object.keys(headers).filter((name) => name.startsWith('x-amz-') || name === 'host');
  if (mustBeSigned.some((name) => !signed.includes(name))) return 'SignatureDoesNotMatch';
  const payload = headerOf(request, 'x-amz-content-sha256');
  if (payload !== 'UNSIGNED-PAYLOAD' && payload !== hashOf(request.body)) return 'XAmzContentSHA256Mismatch';
  const canonical = [
    request.method,
    canonicalPath(request.path),
    canonicalQuery(request.path),
    ...signed.map((name) => `${name}:${headerOf(request, name).trim().replace(/ +/g, ' ')}`),
    '',
    names,
    payload,
  ].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, `${day}/${region}/s3/aws4_request`, hashOf(canonical)].join('\n');
  const signingKey = [day, region, 's3', 'aws4_request'].reduce<Buffer>(
    (secret, text) => createHmac('sha256', secret).update(text).digest(),
    Buffer.from(`AWS4${key.secretAccessKey}`),
  );
  const expected = createHmac('sha256', signingKey).update(toSign).digest('hex');
  return expected === signature ? undefined : 'SignatureDoesNotMatch';
}

function headerOf({ headers }: ReceivedRequest, name: string): string {
  const value = headers[name];
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

function canonicalPath(path: string): string {
  return percentEncoded(Buffer.from(percentDecoded(path.split('?', 1)[0] ?? '')), '/');
}

function canonicalQuery(path: string): string {
  return queryOf(path)
    .map(([name, value]) => [percentEncoded(Buffer.from(name)), percentEncoded(Buffer.from(value))] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => pair.join('='))
    .join('&');
}

/** The query as a server of S3 reads it: a plus sign is a plus sign. */
export function queryOf(path: string): (readonly [string, string])[] {
  const at = path.indexOf('?');
  if (at < 0 || at === path.length - 1) return [];
  return path
    .slice(at + 1)
    .split('&')
    .map((pair) => {
      const [name = '', ...value] = pair.split('=');
      return [percentDecoded(name).toString(), percentDecoded(value.join('=')).toString()] as const;
    });
}

/** What a URL says of a path, byte by byte. */
export function percentDecoded(text: string): Buffer {
  const pieces = text.split(/(%[0-9A-Fa-f]{2})/);
  return Buffer.concat(
    pieces.map((piece) =>
      piece.startsWith('%') && piece.length === 3 ? Buffer.from(piece.slice(1), 'hex') : Buffer.from(piece),
    ),
  );
}

function percentEncoded(bytes: Buffer, also = ''): string {
  return Array.from(bytes, (byte) => {
    const char = String.fromCharCode(byte);
    const stays = /[A-Za-z0-9\-._~]/.test(char) || also.includes(char);
    return stays ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}

function hashOf(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
