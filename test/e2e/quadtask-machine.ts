import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FaultProxy } from '../servers/fault-proxy.ts';
import type { RgwServer } from '../servers/rgw.ts';
import type { Credentials } from '../servers/s3-server.ts';
import { eventually, RIVULET, TestProcess, undoAfter, workFolder } from '../support/processes.ts';
import { onPath, pathOf, type Tool, UNSHARE } from '../support/tools.ts';

export const EXAMPLE = fileURLToPath(new URL('../../examples/quadtask', import.meta.url));

/**
 * Runs the command `$5…` where `/app` is the folder $2, and `/etc` has the hosts of $3 and the configuration of $4. All
 * else is as it is outside; nothing outside changes. $1 becomes the root.
 */
const WITH_A_ROOT_OF_ITS_OWN = `
set -e
root=$1 app=$2 hosts=$3 config=$4
shift 4
mount -t tmpfs none "$root"
for entry in /*; do
  case $entry in
    /app | /etc) ;;
    *)
      if [ -h "$entry" ]; then
        cp -P "$entry" "$root/"
      elif [ -d "$entry" ]; then
        mkdir "$root$entry"
        mount --rbind "$entry" "$root$entry"
      fi
      ;;
  esac
done
mkdir "$root/app" "$root/etc" "$root/etc-outside"
mount --bind "$app" "$root/app"
mount --rbind /etc "$root/etc-outside"
for entry in /etc/*; do ln -s "/etc-outside/\${entry#/etc/}" "$root/etc/"; done
rm -f "$root/etc/hosts" "$root/etc/litestream.yml"
cp "$hosts" "$root/etc/hosts"
cp "$config" "$root/etc/litestream.yml"
cd "$root/app"
exec chroot "$root" sh -c 'cd /app && exec "$@"' sh "$@"`;

/** How the application is run instead of `uvicorn …`; `"$HOST"` is where it has to listen. */
export interface Runner {
  readonly name: string;
  readonly script: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The server of the story's Node application: its port is the one that the entrypoint gives. */
export const NODE_APPLICATION: Runner = {
  name: 'the Node application',
  script: `exec "$RIVULET_NODE" --disable-warning=ExperimentalWarning app-node/server.mjs --host "$HOST" --port "$5"`,
};

/** Where `.ci/run` installs what the story's FastAPI application needs; an installation of the system's does as well. */
const PYTHON_PACKAGES = fileURLToPath(new URL('../../.tools/quadtask', import.meta.url));

export const FASTAPI: Tool = {
  name: 'Python with fastapi and uvicorn (pip install --target .tools/quadtask -r examples/quadtask/requirements.txt)',
  path: pythonWithFastApi(),
};

function pythonWithFastApi(): string | undefined {
  const python = onPath('python3');
  const find = 'import sys, importlib.util as i; sys.exit(not (i.find_spec("fastapi") and i.find_spec("uvicorn")))';
  const env = { ...process.env, PYTHONPATH: PYTHON_PACKAGES };
  return python && spawnSync(python, ['-c', find], { env }).status === 0 ? python : undefined;
}

export const FASTAPI_APPLICATION: Runner = {
  name: 'the FastAPI application',
  script: 'shift 3\nexec python3 -m uvicorn app.main:app --host "$HOST" "$@"',
  env: { PYTHONPATH: PYTHON_PACKAGES, PYTHONDONTWRITEBYTECODE: '1' },
};

let machines = 0;

/** An address of this computer that no other test uses. */
function ownAddress(): string {
  return `127.${100 + (process.pid % 100)}.${(process.pid >> 8) % 256}.${++machines}`;
}

/** `s3.example.com`, port 443: the gateway's TLS, behind a proxy that can fail. */
export async function s3ExampleCom(t: TestContext, server: RgwServer): Promise<{ address: string; proxy: FaultProxy }> {
  const address = ownAddress();
  const proxy = await FaultProxy.start(Number(new URL(server.tlsEndpoint).port), { host: address, port: 443 });
  undoAfter(t, () => proxy.close());
  return { address, proxy };
}

export interface MachineOptions {
  readonly server: RgwServer;
  /** Where `s3.example.com` is. */
  readonly s3Address: string;
  readonly runner: Runner;
}

/** One computer of the story, with a disk of its own: the container of production, or a laptop. */
export class Machine {
  readonly #t: TestContext;
  readonly #options: MachineOptions;
  readonly #folder: string;
  readonly #address = ownAddress();
  readonly #config: string;
  /** What `/app` is there. */
  readonly #app: string;
  /** What `/app/data` is there. */
  readonly data: string;

  constructor(t: TestContext, options: MachineOptions) {
    this.#t = t;
    this.#options = options;
    this.#folder = workFolder(t);
    this.#app = join(this.#folder, 'app');
    this.#config = join(this.#folder, 'litestream.yml');
    cpSync(EXAMPLE, this.#app, { recursive: true });
    renameSync(join(this.#app, 'litestream.yml'), this.#config);
    this.data = join(this.#app, 'data');
    for (const folder of [this.data, join(this.#folder, 'root'), join(this.#folder, 'bin')]) mkdirSync(folder);
    symlinkSync(RIVULET, join(this.#folder, 'bin', 'litestream'));
    const uvicorn = `#!/bin/sh
# What it is given: app.main:app --host 0.0.0.0 --port 8000 --reload --log-level debug
touch /app/application-started
HOST=${this.#address}
${options.runner.script}
`;
    writeFileSync(join(this.#folder, 'bin', 'uvicorn'), uvicorn, { mode: 0o755 });
    writeFileSync(join(this.#folder, 'hosts'), `127.0.0.1 localhost\n${options.s3Address} s3.example.com\n`);
  }

  /** Whether the application was ever started; it does not matter how far it came. */
  get wasApplicationStarted(): boolean {
    return existsSync(join(this.#app, 'application-started'));
  }

  /** Changes the configuration of the example. */
  editConfig(from: string, to: string): void {
    writeFileSync(this.#config, readFileSync(this.#config, 'utf8').replace(from, to));
  }

  /** Starts the container's entrypoint. */
  start(environment: string, credentials: Credentials = this.#options.server): TestProcess {
    const root = join(this.#folder, 'root');
    const places = [root, this.#app, join(this.#folder, 'hosts'), this.#config];
    const args = ['-m', 'sh', '-c', WITH_A_ROOT_OF_ITS_OWN, 'sh', ...places, './entrypoint.sh'];
    return new TestProcess(this.#t, pathOf(UNSHARE), args, {
      env: {
        PATH: `${join(this.#folder, 'bin')}:${process.env.PATH}`,
        ENVIRONMENT: environment,
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_CA_BUNDLE: this.#options.server.caFile,
        ...this.#options.runner.env,
      },
    });
  }

  /** The same, and waits until the application answers. */
  async startApplication(environment: string): Promise<TestProcess> {
    const entrypoint = this.start(environment);
    const early = entrypoint.ended.then(({ status, stdout, stderr }) => {
      throw new Error(`the entrypoint ended with status ${status}:\n${stdout}${stderr}`);
    });
    early.catch(() => undefined); // an end after this is what tests wait for
    const isUp = eventually('the application answers', async () => (await this.#request('/health')).ok || undefined);
    await Promise.race([isUp, early]);
    return entrypoint;
  }

  async addTask(title: string): Promise<void> {
    const { status } = await this.#request('/tasks', { method: 'POST', body: JSON.stringify({ title }) });
    if (status !== 201) throw new Error(`POST /tasks: status ${status}`);
  }

  /** The titles of all tasks, oldest first. */
  async tasks(): Promise<string[]> {
    const tasks: unknown = await (await this.#request('/tasks')).json();
    return Array.isArray(tasks) ? tasks.map(({ title }) => String(title)) : [];
  }

  #request(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { 'content-type': 'application/json', connection: 'close' };
    return fetch(`http://${this.#address}:8000${path}`, { ...init, headers });
  }
}
