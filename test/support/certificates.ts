import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { onPath, pathOf, type Tool } from './tools.ts';

export const OPENSSL: Tool = { name: 'openssl', path: onPath('openssl') };

/** A certificate that signed itself, and its key. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
  /** The certificate as a file: what `root-cas` names. */
  readonly file: string;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'] as const;

/** `name`: `IP:127.0.0.1` or `DNS:host`. */
export function selfSigned(t: TestContext, name: string): Certificate {
  const folder = certificateFolder(t);
  const names = ['-subj', '/CN=rivulet-test', '-addext', `subjectAltName=${name}`];
  openssl(folder, ['req', '-x509', ...NEW_KEY, '-keyout', 'key.pem', '-out', 'cert.pem', '-days', '2', ...names]);
  return certificateIn(folder);
}

/** For 127.0.0.1, and over since 2020. Only `openssl ca` takes such dates everywhere. */
export function expired(t: TestContext): Certificate {
  const folder = certificateFolder(t);
  writeFileSync(join(folder, 'ca.cnf'), AUTHORITY);
  writeFileSync(join(folder, 'index.txt'), '');
  writeFileSync(join(folder, 'serial'), '01\n');
  openssl(folder, ['req', ...NEW_KEY, '-keyout', 'key.pem', '-out', 'request.pem', '-subj', '/CN=rivulet-test']);
  const files = ['-keyfile', 'key.pem', '-in', 'request.pem', '-out', 'cert.pem'];
  const dates = ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z'];
  openssl(folder, ['ca', '-batch', '-notext', '-config', 'ca.cnf', '-selfsign', ...files, ...dates]);
  return certificateIn(folder);
}

const AUTHORITY = `
[ca]
default_ca = test
[test]
dir = .
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = names
x509_extensions = extensions
[names]
commonName = supplied
[extensions]
subjectAltName = IP:127.0.0.1
basicConstraints = CA:TRUE
`;

function certificateFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'rivulet-certificate-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function certificateIn(folder: string): Certificate {
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return { key: read('key.pem'), cert: read('cert.pem'), file: join(folder, 'cert.pem') };
}

function openssl(folder: string, args: readonly string[]): void {
  execFileSync(pathOf(OPENSSL), args, { cwd: folder, stdio: 'pipe' });
}
