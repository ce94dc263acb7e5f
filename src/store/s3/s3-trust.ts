import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as tls from 'node:tls';
import { messageOf } from '../../base/errors.ts';
import { StoreError } from '../store.ts';

/**
 * All authorities that are trusted: Node's own and `NODE_EXTRA_CA_CERTS`, those of the system, and
 * those of `files`, `AWS_CA_BUNDLE` and `SSL_CERT_FILE`. Throws when a file cannot be read or holds none: a security setting
 * is honoured, or it is an error. Made once for all connections: they are some hundreds, and are read and compared otherwise
 * for each connection and each request.
 */
export function trustedAuthorities(
  files: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): tls.SecureContext {
  const named = [...files, env.AWS_CA_BUNDLE, env.SSL_CERT_FILE].filter((file): file is string => Boolean(file));
  // Most are in both, and each costs time for every connection's context.
  const known = new Set([...tls.getCACertificates('default'), ...tls.getCACertificates('system')]);
  return tls.createSecureContext({ ca: [...known, ...named.map(readAuthorities)] });
}

function readAuthorities(file: string): string {
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch (error) {
    throw unusable(file, messageOf(error));
  }
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (certificates.length === 0) throw unusable(file, 'it holds no certificate in PEM form');
  try {
    for (const certificate of certificates) new X509Certificate(certificate); // TLS would leave out what it cannot read
  } catch (error) {
    throw unusable(file, messageOf(error));
  }
  return pem;
}

function unusable(file: string, why: string): StoreError {
  return new StoreError('permanent', {
    message: `the certificates of ${file} cannot be used: ${why}`,
    kept: 'no connection was made',
    next: 'check root-cas, AWS_CA_BUNDLE and SSL_CERT_FILE',
  });
}
