import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { usesSecret } from '../support/test-record.ts';
import { onPath, type Tool } from '../support/tools.ts';
import { answers, Daemons, freePort, runTool } from './daemons.ts';
import { type S3Access, S3Server, type Started, sharedAccess } from './s3-server.ts';

const STORES = ['account', 'container', 'object'] as const;
const PROGRAMS = ['swift-proxy-server', ...STORES.map((name) => `swift-${name}-server`), 'memcached'];

export const SWIFT: Tool = {
  name: "OpenStack Swift's S3 layer (Debian packages swift-proxy swift-account swift-container swift-object memcached)",
  path: PROGRAMS.every(onPath) ? onPath('swift-proxy-server') : undefined,
};

/** Has the access to a Swift that tests share, as JSON. */
export const SHARED_SWIFT = 'RIVULET_TEST_SWIFT';

let own: Promise<Started<S3Access>> | undefined;

/** The Swift that all test files share, or one for this process that ends with it. It knows no conditional writes. */
export async function swiftServer(): Promise<S3Server> {
  const shared = sharedAccess(SHARED_SWIFT);
  if (shared) return new S3Server(shared, false);
  own ??= startSwift();
  return new S3Server((await own).access, false);
}

/** Starts Swift's four servers, each with one process, and the memcached that it keeps its sessions in. */
export async function startSwift(): Promise<Started<S3Access>> {
  const daemons = new Daemons('swift');
  try {
    return { access: await startServers(daemons), stop: () => daemons.stop() };
  } catch (error) {
    await daemons.stop();
    throw error;
  }
}

async function startServers(daemons: Daemons): Promise<S3Access> {
  const settings = daemons.subfolder('settings');
  const devices = daemons.subfolder('devices');
  daemons.subfolder('devices/disk');
  writeFileSync(join(settings, 'swift.conf'), SWIFT_CONF);
  for (const store of STORES) {
    const port = await freePort();
    writeFileSync(
      join(settings, `${store}-server.conf`),
      `${serverDefaults(settings, port)}${storeConf(store, devices)}`,
    );
    await makeRing(settings, store, port);
    startPython(daemons, `${store}-server`, settings);
  }
  const memcachedPort = await freePort();
  const secretAccessKey = usesSecret(randomBytes(20).toString('hex'));
  daemons.start('memcached', 'memcached', ['-u', userInfo().username, '-l', '127.0.0.1', '-p', String(memcachedPort)]);
  const port = await freePort();
  writeFileSync(
    join(settings, 'proxy-server.conf'),
    `${serverDefaults(settings, port)}${proxyConf(memcachedPort, secretAccessKey)}`,
  );
  startPython(daemons, 'proxy-server', settings);
  const endpoint = `http://127.0.0.1:${port}`;
  await daemons.until('Swift answers', () => answers(`${endpoint}/info`));
  return { endpoint, region: 'us-east-1', accessKeyId: 'test:tester', secretAccessKey };
}

/** Swift looks for its `swift.conf` in /etc only, unless it is told otherwise from inside. */
const LAUNCHER = `
import runpy, sys
import swift.common.utils
swift.common.utils.SWIFT_CONF_FILE = sys.argv[3] + '/swift.conf'
program = '/usr/bin/swift-' + sys.argv[1]
sys.argv = [program, sys.argv[2]]
runpy.run_path(program, run_name='__main__')
`;

/** Debian's Python: another one on PATH does not have its modules. */
function startPython(daemons: Daemons, name: string, settings: string): void {
  const config = join(settings, `${name}.conf`);
  daemons.start(name, '/usr/bin/python3', ['-c', LAUNCHER, name, config, settings]);
}

/** Where the data of a store is: all of it on one disk. */
async function makeRing(settings: string, store: string, port: number): Promise<void> {
  const builder = join(settings, `${store}.builder`);
  await runTool('swift-ring-builder', [builder, 'create', '4', '1', '1']);
  await runTool('swift-ring-builder', [builder, 'add', `r1z1-127.0.0.1:${port}/disk`, '1']);
  await runTool('swift-ring-builder', [builder, 'rebalance']);
}

const SWIFT_CONF = `[swift-hash]
swift_hash_path_prefix = a
swift_hash_path_suffix = b
[storage-policy:0]
name = default
default = yes
`;

function serverDefaults(settings: string, port: number): string {
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = ${userInfo().username}
swift_dir = ${settings}
log_level = WARNING
`;
}

function storeConf(store: string, devices: string): string {
  return `devices = ${devices}
mount_check = false
[pipeline:main]
pipeline = ${store}-server
[app:${store}-server]
use = egg:swift#${store}
`;
}

function proxyConf(memcachedPort: number, secret: string): string {
  return `[pipeline:main]
pipeline = catch_errors cache s3api tempauth bulk slo symlink copy versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${memcachedPort}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
check_bucket_owner = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:symlink]
use = egg:swift#symlink
[filter:copy]
use = egg:swift#copy
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
`;
}
