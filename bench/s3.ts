import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Application } from '../scripts/quickstart/application.ts';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import type { S3Server } from '../test/servers/s3-server.ts';
import type { Contender } from './contest.ts';
import type { Workplace } from './copies.ts';
import { CountingProxy, type RequestCounts } from './counting-proxy.ts';
import { cpuSecondsOf } from './measure.ts';
import type { StreamSettings } from './steady.ts';
import type { Tool } from './tools.ts';

const WRITER = fileURLToPath(new URL('writer.ts', import.meta.url));
const LIMIT_MS = 120_000;
/** Longer than any interval at which a default configuration does anything by itself every few seconds. */
const SETTLE_MS = 3000;
const IDLE_MS = 10_000;

/** A bucket on a real server, and how the tools are told of it. */
export class BucketPlace {
  readonly #server: S3Server;
  readonly #bucket: string;
  readonly #path = `bench-${randomBytes(4).toString('hex')}`;

  private constructor(server: S3Server, bucket: string) {
    this.#server = server;
    this.#bucket = bucket;
  }

  static async make(server: S3Server): Promise<BucketPlace> {
    return new BucketPlace(server, await server.newBucket());
  }

  url(endpoint = this.#server.endpoint): string {
    const { region } = this.#server;
    const query = new URLSearchParams({ endpoint, region, forcePathStyle: 'true' });
    return `s3://${this.#bucket}/${this.#path}?${query}`;
  }

  env(tool: Tool): NodeJS.ProcessEnv {
    const { accessKeyId, secretAccessKey } = this.#server;
    return { ...tool.env, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  }
}

/** The same work, with the replica in a bucket. */
export function inBucket(contender: Contender, tool: Tool, place: BucketPlace, fileUrl: string): Contender {
  const command = contender.command.map((word) => (word === fileUrl ? place.url() : word));
  return { ...contender, command, env: place.env(tool) };
}

/** What a tool asks of a store while it replicates. */
export interface RequestFigures {
  /** From its start to some time after the first image. */
  readonly start: RequestCounts;
  /** While the application commits. */
  readonly stream: RequestCounts;
  readonly streamSeconds: number;
  /** While it does not, later. */
  readonly idle: RequestCounts;
  readonly idleSeconds: number;
  /** Of the tool during the stream, s. */
  readonly cpuSeconds: number | undefined;
}

/** Streams to a bucket with the tool's default settings, through a proxy that counts. */
export async function requestsOf(
  tool: Tool,
  server: S3Server,
  place: Workplace,
  original: string,
  settings: StreamSettings,
): Promise<RequestFigures> {
  place.reset(original);
  const proxy = await CountingProxy.start(server.endpoint);
  const bucket = await BucketPlace.make(server);
  const commits = settings.commitsPerSecond * settings.seconds;
  const writer = new Application(WRITER, place.databasePath, String(settings.commitsPerSecond), String(commits));
  await writer.opened;
  const config = join(place.folder, 'config.yml');
  writeFileSync(
    config,
    JSON.stringify({ dbs: [{ path: place.databasePath, replica: { url: bucket.url(proxy.endpoint) } }] }),
  );
  const replicator = new LineProcess([tool.program, 'replicate', '-config', config], undefined, bucket.env(tool));
  try {
    const start = await settled(proxy, [replicator, writer.process]);
    const cpuBefore = cpuSecondsOf(replicator.pid ?? 0);
    const beganMs = performance.now();
    writer.process.write('go\n');
    await waitUntil('the last commit', [replicator, writer.process], () => writer.commits === commits);
    const streamSeconds = (performance.now() - beganMs) / 1000;
    const stream = await settled(proxy, [replicator]);
    const cpuAfter = cpuSecondsOf(replicator.pid ?? 0);
    await sleep(IDLE_MS);
    const idle = proxy.take();
    return {
      start,
      stream,
      streamSeconds,
      idle,
      idleSeconds: IDLE_MS / 1000,
      cpuSeconds: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
    };
  } finally {
    await Promise.all([writer.process.kill(), replicator.kill()]);
    proxy.stop();
  }
}

/** Everything that is asked until nothing was put for a while. */
async function settled(proxy: CountingProxy, needed: readonly LineProcess[]): Promise<RequestCounts> {
  let total: RequestCounts = proxy.take();
  let quietSinceMs = performance.now();
  await waitUntil('the first image', needed, () => {
    const more = proxy.take();
    if (more.put > 0) quietSinceMs = performance.now();
    total = sum(total, more);
    return total.put > 0 && performance.now() - quietSinceMs > SETTLE_MS;
  });
  return total;
}

function sum(a: RequestCounts, b: RequestCounts): RequestCounts {
  return { put: a.put + b.put, get: a.get + b.get, list: a.list + b.list, other: a.other + b.other };
}

async function waitUntil(what: string, needed: readonly LineProcess[], done: () => boolean): Promise<void> {
  for (const until = Date.now() + LIMIT_MS; !done(); await sleep(10)) {
    const ended = needed.find((process) => !process.running);
    if (ended) throw new Error(`a process ended before ${what} came:\n${ended.log}`);
    if (Date.now() > until) throw new Error(`${what} did not come in ${LIMIT_MS / 1000} s`);
  }
}
