import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { messageOf, RivuletError } from '../base/errors.ts';
import { formatListenAddress, type ListenAddress } from '../config/listen-address.ts';

/** Longest wait for a request to be whole: whoever is slower is no scraper. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Gives the metrics to whoever asks for `/metrics`. Dispose of it when done. */
export class MetricsServer {
  readonly #server: Server;
  /** The port, also where any free one was asked for. */
  readonly port: number;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** Throws ADDRESS_UNAVAILABLE. */
  static async start(address: ListenAddress, text: () => string): Promise<MetricsServer> {
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) =>
      answer(request, response, text),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(unavailable(address, cause)));
      server.listen(address.port, address.host, resolve);
    });
    // A connection that breaks is its client's matter.
    server.on('error', () => undefined);
    const bound = server.address();
    return new MetricsServer(server, typeof bound === 'object' && bound ? bound.port : address.port);
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function answer(request: IncomingMessage, response: ServerResponse, text: () => string): void {
  const [path] = (request.url ?? '').split('?', 1);
  const isKnown = path === '/metrics';
  const mayAsk = request.method === 'GET' || request.method === 'HEAD';
  const status = !isKnown ? 404 : mayAsk ? 200 : 405;
  const body = status === 200 ? text() : 'The metrics are at /metrics.\n';
  response.writeHead(status, {
    'content-type': `text/plain; ${status === 200 ? 'version=0.0.4; ' : ''}charset=utf-8`,
    ...(status === 405 && { allow: 'GET, HEAD' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function unavailable(address: ListenAddress, cause: unknown): RivuletError {
  return new RivuletError({
    code: 'ADDRESS_UNAVAILABLE',
    message: `cannot listen on ${formatListenAddress(address)} for metrics: ${messageOf(cause)}`,
    kept: 'nothing was started',
    next: 'change addr in the configuration, or stop whatever listens there',
    cause,
  });
}
