import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOPBACK = '127.0.0.1';
/** What a direction of a connection may have underway before it stops reading. */
const UNDERWAY_LIMIT_BYTES = 1 << 20;

/** What is wrong with the network. What is not given works; changes hold for live connections too. */
export interface Faults {
  /** How long bytes travel, each way. */
  readonly latencyMs?: number;
  /** Of each direction of each connection. */
  readonly bytesPerSecond?: number;
  /** A connection ends after this many bytes from the server… */
  readonly cutDownloadAtBytes?: number;
  /** …or from the client. */
  readonly cutUploadAtBytes?: number;
  /** How it ends there: with a reset (default), or as if all had been said. */
  readonly cutBy?: 'reset' | 'end';
  /** Connections are accepted, bytes are taken, and nothing comes of it. */
  readonly blackHole?: boolean;
  /** Connections are reset as soon as they are made. */
  readonly refuse?: boolean;
}

export interface FaultCounters {
  readonly connections: number;
  readonly resets: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
}

export interface FaultProxyOptions {
  /** Where it listens; default: a free port of 127.0.0.1. */
  readonly host?: string;
  readonly port?: number;
  /** Its clock, for tests of itself. */
  readonly clock?: Clock;
}

export interface Clock {
  nowMs(): number;
  sleep(ms: number): Promise<void>;
}

const REAL_CLOCK: Clock = {
  nowMs: () => performance.now(),
  sleep: async (ms) => sleep(ms),
};

type Direction = 'upload' | 'download';

interface Link {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy before a server on 127.0.0.1. It does harm exactly as told: nothing in it is random. */
export class FaultProxy {
  faults: Faults = {};
  readonly #upstreamPort: number;
  readonly #host: string;
  readonly #clock: Clock;
  readonly #links = new Set<Link>();
  readonly #counters = { connections: 0, resets: 0, uploadBytes: 0, downloadBytes: 0 };
  #listener: Server | undefined;
  #port: number;

  private constructor(upstreamPort: number, options: FaultProxyOptions) {
    this.#upstreamPort = upstreamPort;
    this.#host = options.host ?? LOOPBACK;
    this.#port = options.port ?? 0;
    this.#clock = options.clock ?? REAL_CLOCK;
  }

  static async start(upstreamPort: number, options: FaultProxyOptions = {}): Promise<FaultProxy> {
    const proxy = new FaultProxy(upstreamPort, options);
    await proxy.up();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get counters(): FaultCounters {
    return { ...this.#counters };
  }

  /** Listens (again, at the same port) after {@link down}. */
  async up(): Promise<void> {
    const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    listener.listen(this.#port, this.#host);
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
    this.#port = address.port;
    this.#listener = listener;
  }

  /** Listens no more, so that connections are refused, and resets those there are. */
  async down(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener?.close(resolve) ?? resolve(undefined));
    this.#listener = undefined;
    this.reset();
    await closed;
  }

  /** Resets all live connections. */
  reset(): void {
    for (const link of this.#links) this.#cut(link, 'reset');
  }

  /** For the end of a test. */
  async close(): Promise<void> {
    await this.down();
  }

  #accept(client: Socket): void {
    this.#counters.connections++;
    client.on('error', () => undefined); // the other side hears of it by 'close'
    if (this.faults.refuse) {
      this.#counters.resets++;
      client.resetAndDestroy();
      return;
    }
    const server = new Socket({ allowHalfOpen: true });
    server.on('error', () => undefined);
    server.setNoDelay();
    server.connect({ port: this.#upstreamPort, host: LOOPBACK });
    const link: Link = { client, server };
    this.#links.add(link);
    for (const socket of [client, server]) {
      socket.once('close', (failed) => {
        if (failed) this.#cut(link, 'reset');
        if (client.closed && server.closed) this.#links.delete(link);
      });
    }
    void this.#forward(link, 'upload');
    void this.#forward(link, 'download');
  }

  async #forward(link: Link, direction: Direction): Promise<void> {
    const [from, to] = direction === 'upload' ? [link.client, link.server] : [link.server, link.client];
    let passedBytes = 0;
    let lineIsFreeAtMs = 0;
    let underwayBytes = 0;
    let delivered = Promise.resolve();
    try {
      for await (const chunk of chunksOf(from)) {
        const { latencyMs = 0, bytesPerSecond, blackHole, cutBy = 'reset', ...limits } = this.faults;
        if (blackHole) continue;
        const limit = (direction === 'upload' ? limits.cutUploadAtBytes : limits.cutDownloadAtBytes) ?? Infinity;
        const isCut = passedBytes + chunk.length >= limit;
        const bytes = isCut ? chunk.subarray(0, Math.max(0, limit - passedBytes)) : chunk;
        passedBytes += bytes.length;

        const sendingMs = bytesPerSecond === undefined ? 0 : (bytes.length / bytesPerSecond) * 1000;
        lineIsFreeAtMs = Math.max(lineIsFreeAtMs, this.#clock.nowMs()) + sendingMs;
        const dueMs = lineIsFreeAtMs + latencyMs;
        underwayBytes += bytes.length;
        delivered = delivered
          .then(() => this.#deliver(bytes, dueMs, to, direction))
          .catch(() => this.#cut(link, 'reset'))
          .finally(() => {
            underwayBytes -= bytes.length;
          });
        if (isCut) {
          await delivered;
          this.#cut(link, cutBy);
          return;
        }
        if (sendingMs > 0 || underwayBytes > UNDERWAY_LIMIT_BYTES) await delivered;
      }
      await delivered;
      if (!this.faults.blackHole) to.end();
    } catch {
      this.#cut(link, 'reset'); // one side is gone
    }
  }

  async #deliver(bytes: Uint8Array, dueMs: number, to: Socket, direction: Direction): Promise<void> {
    const waitMs = dueMs - this.#clock.nowMs();
    if (waitMs > 0) await this.#clock.sleep(waitMs);
    await new Promise<void>((resolve, reject) => {
      to.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    this.#counters[direction === 'upload' ? 'uploadBytes' : 'downloadBytes'] += bytes.length;
  }

  #cut({ client, server }: Link, by: 'reset' | 'end'): void {
    if (client.destroyed && server.destroyed) return;
    if (by === 'end') {
      client.end(() => client.destroy());
    } else if (!client.destroyed) {
      this.#counters.resets++;
      client.resetAndDestroy();
    }
    server.destroy();
  }
}

async function* chunksOf(socket: Socket): AsyncGenerator<Buffer> {
  // A socket without an encoding gives buffers. Its end is not its destruction: the other direction may go on.
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
}
