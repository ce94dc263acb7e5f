import { createHash } from 'node:crypto';
import type { S3Location } from '../../config/s3-location.ts';

/** What goes with each object that is written. */
export function writeHeaders(location: S3Location): Record<string, string> {
  const { storageClass, encryption } = location;
  return {
    ...(storageClass !== undefined && { 'X-Amz-Storage-Class': storageClass }),
    ...(encryption?.kind === 'kms' && {
      'X-Amz-Server-Side-Encryption': 'aws:kms',
      'X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id': encryption.keyId,
    }),
    ...keyHeaders(location),
  };
}

/** What goes with every request for an object: the key, where the store does not keep it. */
export function keyHeaders({ encryption }: S3Location): Record<string, string> {
  if (encryption?.kind !== 'customer-key') return {};
  const key = encryption.key.reveal();
  return {
    'X-Amz-Server-Side-Encryption-Customer-Algorithm': encryption.algorithm,
    'X-Amz-Server-Side-Encryption-Customer-Key': key,
    'X-Amz-Server-Side-Encryption-Customer-Key-Md5': md5(Buffer.from(key, 'base64')),
  };
}

/** What proves a body whose bytes are not signed. */
export function bodyDigest({ signPayload }: S3Location, body: Uint8Array): Record<string, string> {
  return signPayload ? {} : { 'Content-MD5': md5(body) };
}

export function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('base64');
}
