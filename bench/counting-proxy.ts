import { once } from 'node:events';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';

/** Requests to an S3 server, by what they ask for. */
export type RequestCounts = Readonly<Record<'put' | 'get' | 'list' | 'other', number>>;

const NONE: RequestCounts = { put: 0, get: 0, list: 0, other: 0 };

/** Stands before an S3 server on 127.0.0.1, hands everything on as it is, and counts. */
export class CountingProxy {
  readonly endpoint: string;
  readonly #server: http.Server;
  readonly #agent: http.Agent;
  #counts: RequestCounts = NONE;

  private constructor(server: http.Server, agent: http.Agent) {
    this.#server = server;
    this.#agent = agent;
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on a port
  }

  static async start(upstream: string): Promise<CountingProxy> {
    const agent = new http.Agent({ keepAlive: true });
    const { hostname, port } = new URL(upstream);
    const server = http.createServer((request, response) => {
      proxy.#count(request);
      const { method, url: path, headers } = request;
      const onward = http.request({ hostname, port, method, path, headers, agent }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        answer.pipe(response);
      });
      onward.on('error', () => response.destroy());
      request.on('error', () => onward.destroy()).pipe(onward);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new CountingProxy(server, agent);
    return proxy;
  }

  /** What came since the last time this was asked. */
  take(): RequestCounts {
    const counts = this.#counts;
    this.#counts = NONE;
    return counts;
  }

  stop(): void {
    this.#agent.destroy();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #count({ method, url = '' }: http.IncomingMessage): void {
    const isListing = method === 'GET' && /[?&](list-type=|uploads|prefix=|delimiter=)/.test(url);
    const kind = isListing
      ? 'list'
      : method === 'PUT'
        ? 'put'
        : method === 'GET' || method === 'HEAD'
          ? 'get'
          : 'other';
    this.#counts = { ...this.#counts, [kind]: this.#counts[kind] + 1 };
  }
}
