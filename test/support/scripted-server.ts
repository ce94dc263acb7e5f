import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export interface ReceivedRequest {
  readonly method: string;
  /** Path and query as they came over the wire. */
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** Counts the connections of the server, from 0: which one it came over. */
  readonly connection: number;
}

export interface ScriptedAnswer {
  readonly status?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | Uint8Array | undefined;
  /** What `Content-Length` says; default: what is true. `chunked`: there is none. */
  readonly length?: number | 'chunked' | undefined;
  /** What comes after the body: the end of the answer, a cut connection, or nothing until this resolves. */
  readonly ending?: 'end' | 'cut' | Promise<unknown> | undefined;
}

/** What to do with a request: answer it, cut the connection, reset it, or never answer. */
export type Act = ScriptedAnswer | 'cut' | 'reset' | 'hang';

/** What of a test context is needed: the undoing. */
export interface Afterwards {
  after(work: () => unknown): void;
}

export type Script = (request: ReceivedRequest, index: number) => Act | Promise<Act>;

export interface ScriptedServerOptions {
  readonly tls?: { readonly key: string; readonly cert: string } | undefined;
  /** Answers as soon as the head of a request is here, its body unread. */
  readonly early?: boolean | undefined;
}

/** An HTTP server on 127.0.0.1 that does what its script says, and remembers what it was asked. */
export class ScriptedServer {
  readonly requests: ReceivedRequest[] = [];
  readonly #script: Script;
  readonly #server: http.Server | https.Server;
  readonly #isEarly: boolean;
  readonly #isSecure: boolean;
  readonly #connections = new Map<Socket, number>();
  readonly #waiting: { readonly isMet: () => boolean; readonly met: () => void }[] = [];
  #connectionCount = 0;

  private constructor(script: Script, { tls, early = false }: ScriptedServerOptions) {
    this.#script = script;
    this.#isEarly = early;
    this.#isSecure = tls !== undefined;
    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      this.#serve(request, response).catch(() => response.destroy());
    };
    this.#server = tls ? https.createServer({ ...tls }, onRequest) : http.createServer(onRequest);
    this.#server.keepAliveTimeout = 0; // only the script closes connections
    this.#server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#connections.set(socket, this.#connectionCount++);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#connections.delete(socket);
        this.#tell();
      });
    });
  }

  static async start(t: Afterwards, script: Script, options: ScriptedServerOptions = {}): Promise<ScriptedServer> {
    const server = new ScriptedServer(script, options);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return (address as AddressInfo).port; // it listens on a port, not on a path
  }

  get origin(): string {
    return `${this.#isSecure ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  /** Connections that were ever made. */
  get connections(): number {
    return this.#connectionCount;
  }

  /** `GET /bucket/key` of each request. */
  get lines(): string[] {
    return this.requests.map(({ method, path }) => `${method} ${path}`);
  }

  /** Resolves when so many requests have come. */
  received(count: number): Promise<void> {
    return this.#when(() => this.requests.length >= count);
  }

  /** Resolves when no connection is open. */
  allClosed(): Promise<void> {
    return this.#when(() => this.#connections.size === 0);
  }

  /** Cuts every connection, whether a request is under way on it or not. */
  cutConnections(): void {
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.cutConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #when(isMet: () => boolean): Promise<void> {
    if (isMet()) return Promise.resolve();
    return new Promise((met) => void this.#waiting.push({ isMet, met }));
  }

  #tell(): void {
    for (const waiting of this.#waiting) if (waiting.isMet()) waiting.met();
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    if (!this.#isEarly) for await (const piece of request) pieces.push(piece);
    const received: ReceivedRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(pieces),
      connection: this.#connections.get(request.socket) ?? -1,
    };
    const index = this.requests.push(received) - 1;
    this.#tell();
    await perform(await this.#script(received, index), request.socket, response);
  }
}

async function perform(act: Act, socket: Socket, response: http.ServerResponse): Promise<void> {
  if (act === 'hang') return;
  if (act === 'cut') return void socket.destroy();
  if (act === 'reset') return void socket.resetAndDestroy();
  const { status = 200, headers = {}, body = '', ending = 'end' } = act;
  const bytes = Buffer.from(body);
  const length = act.length ?? bytes.length;
  response.strictContentLength = false;
  response.writeHead(status, {
    ...headers,
    ...(length !== 'chunked' && status !== 204 && { 'Content-Length': String(length) }),
  });
  if (bytes.length > 0 && response.req.method !== 'HEAD') await new Promise((sent) => response.write(bytes, sent));
  else response.flushHeaders();
  if (ending === 'cut') return void socket.end();
  if (ending !== 'end') await ending;
  response.end();
}

/** A script that does one thing after the other, and the last one from then on. */
export function inTurn(...acts: readonly (Act | Script)[]): Script {
  let done = 0;
  return (request, index) => {
    const act = acts[Math.min(done++, acts.length - 1)] ?? 'cut';
    return typeof act === 'function' ? act(request, index) : act;
  };
}

export const XML = { 'Content-Type': 'application/xml' };
export const HTML = { 'Content-Type': 'text/html; charset=utf-8' };

/** The error document of S3. */
export function s3Error(
  status: number,
  code: string,
  more: { readonly message?: string; readonly fields?: string; readonly headers?: Record<string, string> } = {},
): ScriptedAnswer {
  const { message = 'words of the server', fields = '', headers = {} } = more;
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${fields}<RequestId>R1</RequestId></Error>`;
  return { status, headers: { ...XML, 'x-amz-request-id': 'R1', ...headers }, body };
}

export function htmlPage(status: number): ScriptedAnswer {
  const body = `<!DOCTYPE html><html><head><title>Portal</title></head><body><h1>Sign in</h1><br>page ${status}</body></html>`;
  return { status, headers: HTML, body };
}
