import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PutBucketPolicyCommand } from '@aws-sdk/client-s3';
import { usesSecret } from '../support/test-record.ts';
import { onPath, type Tool } from '../support/tools.ts';
import { makeCertificate } from './certificate.ts';
import { answers, Daemons, freePort, runTool } from './daemons.ts';
import { type Credentials, type S3Access, S3Server, type Started, sharedAccess } from './s3-server.ts';

const PROGRAMS = ['radosgw', 'radosgw-admin', 'ceph', 'ceph-mon', 'ceph-osd', 'openssl'];

export const RGW: Tool = {
  name: "Ceph's S3 gateway (Debian packages radosgw ceph-mon ceph-osd openssl)",
  path: PROGRAMS.every(onPath) ? onPath('radosgw') : undefined,
};

/** Has the {@link RgwAccess} of a gateway that tests share, as JSON. */
export const SHARED_RGW = 'RIVULET_TEST_S3';

/** Host names of the gateway. A bucket can stand before each of them: `bucket.localhost`. */
const HOST_NAMES = ['localhost', 's3.example.com'];

/** The key of its key management that it encrypts with; over TLS only, as with keys of customers. */
export const KMS_KEY_ID = 'test-key';

export interface RgwAccess extends S3Access {
  /**
   * The same server over TLS, with a certificate for `localhost`, `s3.example.com`, `*.s3.example.com` and 127.0.0.1.
   * (Node trusts no `*.localhost`.)
   */
  readonly tlsEndpoint: string;
  /** What a client has to trust for {@link tlsEndpoint}. */
  readonly caFile: string;
  readonly configFile: string;
}

export interface S3User extends Credentials {
  readonly id: string;
}

export class RgwServer extends S3Server implements RgwAccess {
  readonly tlsEndpoint: string;
  readonly caFile: string;
  readonly configFile: string;

  constructor(access: RgwAccess) {
    super(access, true);
    this.tlsEndpoint = access.tlsEndpoint;
    this.caFile = access.caFile;
    this.configFile = access.configFile;
  }

  /** Makes a user who may do nothing with the buckets of others. */
  async createUser(): Promise<S3User> {
    const id = `user-${randomBytes(6).toString('hex')}`;
    const user = newCredentials();
    await addUser(this.configFile, id, user);
    return { id, ...user };
  }

  /** Lets a user do exactly this in a bucket: `s3:GetObject`, `s3:ListBucket`. Replaces what was granted before. */
  async grant(bucket: string, user: S3User, actions: readonly string[]): Promise<void> {
    const statement = {
      Effect: 'Allow',
      Principal: { AWS: [`arn:aws:iam:::user/${user.id}`] },
      Action: actions,
      Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
    };
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    await this.withClient((client) => client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: policy })));
  }
}

let own: Promise<Started<RgwAccess>> | undefined;

/** The gateway that all test files share, or one for this process that ends with it. */
export async function s3Server(): Promise<RgwServer> {
  const shared = sharedAccess<RgwAccess>(SHARED_RGW);
  if (shared) return new RgwServer(shared);
  own ??= startRgw();
  return new RgwServer((await own).access);
}

/** Starts a gateway with a cluster of one monitor and one object server in memory. Takes about two seconds. */
export async function startRgw(): Promise<Started<RgwAccess>> {
  const daemons = new Daemons('rgw');
  try {
    return { access: await startCluster(daemons), stop: () => daemons.stop() };
  } catch (error) {
    await daemons.stop();
    throw error;
  }
}

async function startCluster(daemons: Daemons): Promise<RgwAccess> {
  const ports = { monitor: await freePort(), http: await freePort(), tls: await freePort() };
  const { caFile, serverFile } = await makeCertificate(daemons.folder, [...HOST_NAMES, '*.s3.example.com']);
  const cluster: Cluster = { id: randomUUID(), folder: daemons.folder, ports, certificateFile: serverFile };
  const configFile = join(daemons.folder, 'ceph.conf');
  const env = { CEPH_CONF: configFile };
  const osdKey = newKey();
  writeFileSync(configFile, configOf(cluster));
  for (const name of ['mon', 'osd', 'rgw', 'run']) daemons.subfolder(name);

  const keyring = join(daemons.folder, 'keyring');
  const map = join(daemons.folder, 'monmap');
  writeFileSync(keyring, keyringOf(osdKey));
  await runTool('monmaptool', ['--create', '--fsid', cluster.id, '--addv', 'a', monitorAt(ports.monitor), map]);
  await runTool('ceph-mon', ['-i', 'a', '--mkfs', '--monmap', map, '--keyring', keyring], { env });
  daemons.start('mon', 'ceph-mon', ['-f', '-i', 'a'], env);
  const osdId = randomUUID();
  await runTool('ceph', ['osd', 'new', osdId, '-i', '-'], { env, input: JSON.stringify({ cephx_secret: osdKey }) });
  await runTool('ceph-osd', ['-i', '0', '--mkfs', '--osd-uuid', osdId], { env });
  daemons.start('osd', 'ceph-osd', ['-f', '-i', '0'], env);
  await runTool('ceph', ['osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=h'], { env });

  const owner = newCredentials();
  await addUser(configFile, 'owner', owner); // the first call also makes the zones
  await nameHosts(env);
  daemons.start('radosgw', 'radosgw', ['-f', '-n', 'client.rgw'], env);
  const endpoint = `http://127.0.0.1:${ports.http}`;
  await daemons.until('the gateway answers', () => answers(endpoint));
  return { endpoint, tlsEndpoint: `https://127.0.0.1:${ports.tls}`, region: 'default', ...owner, caFile, configFile };
}

interface Cluster {
  readonly id: string;
  readonly folder: string;
  readonly ports: { readonly monitor: number; readonly http: number; readonly tls: number };
  readonly certificateFile: string;
}

function monitorAt(port: number): string {
  return `[v2:127.0.0.1:${port}]`;
}

/**
 * Quick rather than safe: one copy, in memory. `paxos_*` would cost ten seconds at the start; without `tcp_nodelay` every
 * answer waits 40 ms for an acknowledgement.
 */
function configOf({ id, folder, ports, certificateFile }: Cluster): string {
  return `[global]
fsid = ${id}
mon_host = ${monitorAt(ports.monitor)}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr1 = false
keyring = ${folder}/keyring
run_dir = ${folder}/run
admin_socket = ${folder}/run/$name.asok
log_to_file = false
log_to_stderr = true
mon_cluster_log_to_file = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
${QUIET.map((part) => `debug_${part} = 0/0\n`).join('')}[mon.a]
mon_data = ${folder}/mon
[osd]
osd_data = ${folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_max_object_name_len = 2048
osd_class_load_list = *
osd_class_default_list = *
osd_enable_op_tracker = false
[client.rgw]
rgw_data = ${folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${ports.http} ssl_endpoint=127.0.0.1:${ports.tls} ssl_certificate=${certificateFile} tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = ${KMS_KEY_ID}=${randomBytes(32).toString('base64')}
`;
}

/** What these keep a log of in memory, in case they crash, costs a fifth of their time. */
const QUIET = ['rgw', 'osd', 'ms', 'mon', 'paxos', 'objecter', 'monc', 'client'];

/** A secret of Ceph's own protocol: its kind (AES), when it was made (not asked for), and its 16 bytes with their length. */
function newKey(): string {
  const header = Buffer.alloc(12);
  header.writeUInt16LE(1, 0);
  header.writeUInt16LE(16, 10);
  return Buffer.concat([header, randomBytes(16)]).toString('base64');
}

function keyringOf(osdKey: string): string {
  const rights = { mon: 'allow *', osd: 'allow *' };
  const holders: readonly [string, string, Readonly<Record<string, string>>][] = [
    ['mon.', newKey(), { mon: 'allow *' }],
    ['client.admin', newKey(), rights],
    ['client.rgw', newKey(), rights],
    ['osd.0', osdKey, { mon: 'allow profile osd', mgr: 'allow profile osd', osd: 'allow *' }],
  ];
  const entries = holders.map(([name, key, caps]) => {
    const lines = Object.entries(caps).map(([service, right]) => `\tcaps ${service} = "${right}"\n`);
    return `[${name}]\n\tkey = ${key}\n${lines.join('')}`;
  });
  return entries.join('');
}

/** Any other name that a request is sent to would be taken for a bucket. */
async function nameHosts(env: Readonly<Record<string, string>>): Promise<void> {
  const found: unknown = JSON.parse(await runTool('radosgw-admin', ['zonegroup', 'get'], { env }));
  const input = JSON.stringify({ ...Object(found), hostnames: HOST_NAMES });
  await runTool('radosgw-admin', ['zonegroup', 'set'], { env, input });
}

function newCredentials(): Credentials {
  const accessKeyId = randomBytes(10).toString('hex').toUpperCase();
  return { accessKeyId, secretAccessKey: usesSecret(randomBytes(20).toString('hex')) };
}

async function addUser(configFile: string, id: string, user: Credentials): Promise<void> {
  const keys = ['--access-key', user.accessKeyId, '--secret', user.secretAccessKey];
  const args = ['user', 'create', '--uid', id, '--display-name', id, ...keys];
  await runTool('radosgw-admin', args, { env: { CEPH_CONF: configFile } });
}
