import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from './daemons.ts';

/** Files of a self-signed certificate: it is its own authority. */
export interface Certificate {
  /** What a client has to trust. */
  readonly caFile: string;
  /** Key and certificate in one file, as servers read it. */
  readonly serverFile: string;
}

/** Makes a certificate for these host names (`*.example.com` is one) and 127.0.0.1, for a day. */
export async function makeCertificate(folder: string, hosts: readonly string[]): Promise<Certificate> {
  const keyFile = join(folder, 'key.pem');
  const caFile = join(folder, 'ca.pem');
  const serverFile = join(folder, 'server.pem');
  const names = [...hosts.map((host) => `DNS:${host}`), 'IP:127.0.0.1'].join(',');
  await runTool('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
    ...['-subj', '/CN=rivulet test', '-addext', `subjectAltName=${names}`, '-keyout', keyFile, '-out', caFile],
  ]);
  writeFileSync(serverFile, readFileSync(keyFile, 'utf8') + readFileSync(caFile, 'utf8'));
  return { caFile, serverFile };
}
