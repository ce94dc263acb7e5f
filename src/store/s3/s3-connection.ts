import { createHash } from 'node:crypto';
import type * as http from 'node:http';
import * as https from 'node:https';
import type { LookupFunction } from 'node:net';
import aws4 from 'aws4';
import { unlessAborted } from '../../base/async.ts';
import { hasCode } from '../../base/errors.ts';
import type { S3Credentials, S3Location } from '../../config/s3-location.ts';
import { type RequestOptions, StoreError } from '../store.ts';
import { directBodyOf, expectBody, readDirectly } from './direct-body.ts';
import { accessPointOf, addressOf, encodeName, encodePath, type S3Address } from './s3-address.ts';
import type { CredentialsSource } from './s3-credentials.ts';
import { answerError, networkError, type S3Action, type S3Answer, type S3Place, silenceError } from './s3-errors.ts';
import type { S3ObjectAnswer } from './s3-reader.ts';
import { trustedAuthorities } from './s3-trust.ts';
import { readFault } from './s3-xml.ts';

/** A server that says nothing for this long, while it is asked or while it sends, is given up, and asked again. */
export const IDLE_TIMEOUT_MS = 30_000;
/** So many times that where a server has much to do before it answers: to delete 1,000 objects, to join 10,000 parts. */
const LONG_WORK_FACTOR = 10;
/** An answer that is not an object is never larger: a page of a listing has 1,000 keys of at most 1,024 bytes. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;
/** A body that is held back is handed to the connection in pieces of this size. */
const PACED_PIECE_BYTES = 16 * 1024;
/** Of the answer to a failed request no more than this is read. */
const MAX_ERROR_BYTES = 64 * 1024;
/** Shorter ones are no secrets, and may be part of any word. */
const HIDDEN_FROM = 4;
const UNSIGNED = 'UNSIGNED-PAYLOAD';
/** Variables that name proxies. */
const PROXY = /^https?_proxy$/i;
/** Where the region is not known, this one is asked: every store knows it, and Amazon's tells which is the right one. */
const FIRST_REGION = 'us-east-1';

/**
 * `import 'node:http'` would cost 20 ms of each start: it reads all exports of that module, and one of them loads Node's
 * WebSocket client. `node:https` stands on the same classes: its agent extends the plain one, and its `request` takes that, too.
 */
const PlainAgent: typeof http.Agent = Object.getPrototypeOf(https.Agent);

export interface S3Request {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** The object; undefined: the bucket itself. */
  readonly key?: string | undefined;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | undefined;
  readonly action: S3Action;
  readonly options: RequestOptions;
  /** Work that a server does before it says a word: it may keep silent for longer. */
  readonly isLong?: boolean | undefined;
  /** The answer is an object, and may be large. */
  readonly isObject?: boolean | undefined;
}

export interface S3ConnectionOptions {
  readonly location: S3Location;
  readonly credentials: CredentialsSource;
  /** Connections at a time. */
  readonly maxConnections: number;
  readonly idleTimeoutMs?: number | undefined;
  /** Finds the addresses of host names; default: the system does. */
  readonly lookup?: LookupFunction | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** Signed requests to one bucket, over connections that are kept open. */
export class S3Connection {
  readonly #location: S3Location;
  readonly #credentials: CredentialsSource;
  readonly #idleTimeoutMs: number;
  readonly #maxConnections: number;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #lookup: LookupFunction | undefined;
  /** What no message may show, whoever says it: servers exist that print the request they do not understand. */
  #secrets: readonly string[] = [];
  #region: string;
  #address: S3Address;
  /** Whether the region is a guess, which an answer may correct. */
  #guessed: boolean;
  #agent: http.Agent | undefined;
  #accessKeyId = '';

  constructor(options: S3ConnectionOptions) {
    this.#location = options.location;
    this.#credentials = options.credentials;
    this.#idleTimeoutMs = options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
    this.#maxConnections = options.maxConnections;
    this.#env = options.env ?? process.env;
    this.#lookup = options.lookup;
    const known = options.location.region || accessPointOf(options.location.bucket)?.region;
    this.#region = known || this.#env.AWS_REGION || this.#env.AWS_DEFAULT_REGION || FIRST_REGION;
    // The environment says where this machine is, which need not be where the bucket is. Behind an endpoint, the first region is
    // what nobody has set.
    this.#guessed = !known || (options.location.endpoint !== undefined && known === FIRST_REGION);
    this.#address = addressOf(this.#location, this.#region);
  }

  /** Makes a request and reads its answer as text. Answers of other statuses than 2xx and those accepted are errors. */
  async text(request: S3Request, accept: readonly number[] = []): Promise<TextAnswer> {
    const response = await this.#send(request, accept);
    const body = await readText(response, MAX_TEXT_BYTES, this.place, request.action, request.options.signal);
    return { status: response.statusCode ?? 0, headers: response.headers, body };
  }

  /** Asks for an object, and gives the answer, whose body is still to be read (or destroyed). */
  async open(request: S3Request, accept: readonly number[] = []): Promise<S3ObjectAnswer> {
    const response = await this.#send({ ...request, isObject: true }, accept);
    const direct = directBodyOf(response);
    if (direct) response.headers['content-length'] = String(direct.sizeBytes); // as the server said
    return { response, direct };
  }

  close(): void {
    this.#agent?.destroy();
  }

  /** An answer as errors describe it. */
  described({ status, headers, body }: TextAnswer): S3Answer {
    const serverMs = Date.parse(headers.date ?? '');
    return {
      status,
      body: this.#hidden(body),
      requestId: oneHeader(headers['x-amz-request-id']),
      retryAfterMs: retryAfterMs(headers['retry-after'], Number.isNaN(serverMs) ? Date.now() : serverMs),
      serverMs: Number.isNaN(serverMs) ? undefined : serverMs,
      region: oneHeader(headers['x-amz-bucket-region']),
      contentType: headers['content-type'],
    };
  }

  #hidden(text: string): string {
    let hidden = text;
    for (const secret of this.#secrets)
      if (secret.length >= HIDDEN_FROM) hidden = hidden.replaceAll(secret, '(hidden)');
    return hidden;
  }

  /** For the messages of errors that are found later than in the answer's head. */
  get place(): S3Place {
    const { protocol, host } = this.#address;
    return {
      bucket: this.#location.bucket,
      origin: `${protocol}//${host}`,
      region: this.#region,
      accessKeyId: this.#accessKeyId,
    };
  }

  async #send(request: S3Request, accept: readonly number[]): Promise<http.IncomingMessage> {
    for (let corrections = 0; ; corrections++) {
      const { signal } = request.options;
      signal?.throwIfAborted();
      const asked = this.#region;
      const response = await this.#sendOnce(request);
      const status = response.statusCode ?? 0;
      if ((status >= 200 && status < 300) || accept.includes(status)) return response;
      const answer = await this.#readAnswer(response, request);
      if (corrections === 0 && this.#learnRegion(answer, asked)) continue;
      throw answerError(this.place, request.action, answer);
    }
  }

  /** Takes over the region that an answer names, if the one asked was a guess. True when another try is worth it. */
  #learnRegion(answer: S3Answer, asked: string): boolean {
    const region = answer.region ?? readFault(answer.body)?.region;
    const isAboutRegion =
      answer.status === 301 || answer.status === 307 || answer.status === 400 || answer.status === 403;
    if (!region || region === asked || !isAboutRegion) return false;
    if (region === this.#region) return true; // another request was told meanwhile
    if (!this.#guessed) return false;
    this.#region = region;
    this.#address = addressOf(this.#location, region);
    this.#guessed = false;
    return true;
  }

  async #readAnswer(response: http.IncomingMessage, request: S3Request): Promise<S3Answer> {
    const body = await readText(response, MAX_ERROR_BYTES, this.place, request.action, request.options.signal, 'cut');
    return this.described({ status: response.statusCode ?? 0, headers: response.headers, body });
  }

  async #sendOnce(request: S3Request): Promise<http.IncomingMessage> {
    const signed = await this.#signed(request);
    try {
      return await this.#exchange(request, signed);
    } catch (error) {
      // The server closed a connection that was kept open, just as it was used again: nothing was done, try a new one.
      if (!(error instanceof StaleConnection)) throw error;
      request.options.signal?.throwIfAborted();
      for (const socket of Object.values(this.#agent?.freeSockets ?? {}).flat()) socket?.destroy();
      return this.#exchange(request, signed, true);
    }
  }

  async #signed(request: S3Request): Promise<http.RequestOptions> {
    const credentials = await unlessAborted(this.#credentials(), request.options.signal);
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    checkSendable(credentials);
    this.#accessKeyId = accessKeyId;
    const { encryption } = this.#location;
    const customerKey = encryption?.kind === 'customer-key' ? encryption.key : undefined;
    this.#secrets = [secretAccessKey, sessionToken, customerKey].flatMap((secret) => secret?.reveal() || []);
    const address = this.#address;
    const query = Object.entries(request.query ?? {}).map(
      ([name, value]) => `${encodeName(name)}=${encodeName(value)}`,
    );
    const path = address.basePath + encodePath(request.key ?? '') + (query.length > 0 ? `?${query.join('&')}` : '');
    const headers: Record<string, string> = { ...this.#location.headers, ...request.headers, Host: address.host };
    if (request.body || request.method === 'PUT' || request.method === 'POST') {
      headers['Content-Length'] = String(request.body?.length ?? 0);
      headers['Content-Type'] ??= 'application/octet-stream';
    }
    const signsBody = this.#location.signPayload || !request.body;
    headers['X-Amz-Content-Sha256'] = signsBody ? sha256(request.body ?? new Uint8Array(0)) : UNSIGNED;
    const { headers: signed } = aws4.sign(
      { service: 's3', region: this.#region, method: request.method, host: address.host, path, headers },
      {
        accessKeyId,
        secretAccessKey: secretAccessKey.reveal(),
        ...(sessionToken && { sessionToken: sessionToken.reveal() }),
      },
    );
    return { method: request.method, hostname: address.hostname, port: address.port, path, headers: signed ?? {} };
  }

  async #exchange(request: S3Request, signed: http.RequestOptions, isSecondTry = false): Promise<http.IncomingMessage> {
    const { action, options, body } = request;
    const { signal } = options;
    const isSecure = this.#address.protocol === 'https:';
    const agent = this.#agentFor(isSecure);
    const idleTimeoutMs = this.#idleTimeoutMs * (request.isLong ? LONG_WORK_FACTOR : 1);
    const place = this.place;
    signal?.throwIfAborted(); // from here on it is listened for
    options.onRequest?.({ method: request.method, sentBytes: body?.length ?? 0 });
    return new Promise((resolve, reject) => {
      const outgoing = https.request({
        ...signed,
        protocol: this.#address.protocol,
        agent,
        timeout: idleTimeoutMs,
      });
      const onAbort = (): void => void outgoing.destroy(new Error('aborted'));
      if (request.isObject) outgoing.on('socket', expectBody);
      const holder = new HoldBack(options.pace);
      let answer: http.IncomingMessage | undefined;
      signal?.addEventListener('abort', onAbort, { once: true });
      outgoing.on('timeout', () => {
        // Bytes lie here that nobody has taken or may send yet: then it is not the server that keeps silent.
        const isOurs = answer ? isHeldBack(answer) : holder.holds && isConnected(outgoing);
        if (isOurs) outgoing.setTimeout(idleTimeoutMs);
        else (answer ?? outgoing).destroy(silenceError(place, action, idleTimeoutMs / 1000));
      });
      outgoing.on('response', (response) => {
        answer = response;
        response.on('close', () => {
          signal?.removeEventListener('abort', onAbort);
          // It was refused before all of it was sent: the rest would be for nothing.
          if (!outgoing.writableFinished) outgoing.destroy();
        });
        resolve(response);
      });
      outgoing.on('error', (error) => {
        if (answer) return; // whoever reads the answer hears of it there
        signal?.removeEventListener('abort', onAbort);
        if (signal?.aborted) reject(signal.reason);
        else if (outgoing.reusedSocket && !isSecondTry && isHangUp(error)) reject(new StaleConnection());
        else reject(networkError(place, action, error));
      });
      sendBody(outgoing, body, options.pace && ((bytes) => holder.wait(bytes))).catch((error: unknown) => {
        outgoing.destroy(error instanceof Error ? error : new Error(String(error)));
      });
    });
  }

  #agentFor(isSecure: boolean): http.Agent {
    if (this.#agent) return this.#agent;
    const common: https.AgentOptions = {
      keepAlive: true,
      maxSockets: this.#maxConnections,
      maxFreeSockets: this.#maxConnections,
      ...(this.#lookup && { lookup: this.#lookup }),
    };
    const mayUseProxy = !isLocal(this.#address.hostname) && Object.keys(this.#env).some((name) => PROXY.test(name));
    const proxyEnv = mayUseProxy ? { proxyEnv: this.#env } : {};
    if (!isSecure) {
      this.#agent = new PlainAgent({ ...common, ...proxyEnv });
    } else {
      const { skipVerify, rootCas } = this.#location;
      const trust = skipVerify
        ? { rejectUnauthorized: false }
        : { secureContext: trustedAuthorities(rootCas, this.#env) };
      this.#agent = new https.Agent({ ...common, ...proxyEnv, ...trust });
    }
    if (!mayUseProxy) readDirectly(this.#agent);
    return this.#agent;
  }
}

export interface TextAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** Waits until bytes may be sent, and knows that it does. */
class HoldBack {
  readonly #pace: RequestOptions['pace'];
  #waiting = 0;

  constructor(pace: RequestOptions['pace']) {
    this.#pace = pace;
  }

  get holds(): boolean {
    return this.#waiting > 0;
  }

  async wait(bytes: number): Promise<void> {
    this.#waiting++;
    try {
      await this.#pace?.(bytes);
    } finally {
      this.#waiting--;
    }
  }
}

function isHeldBack(answer: http.IncomingMessage): boolean {
  return answer.complete || answer.readableLength > 0 || directBodyOf(answer)?.holdsBack === true;
}

function isConnected({ socket }: http.ClientRequest): boolean {
  return socket?.connecting === false;
}

/** A line feed at the end is easily copied along with a key; in a header it would be refused, in a signature be wrong. */
function checkSendable({ accessKeyId, secretAccessKey, sessionToken }: S3Credentials): void {
  const values = {
    'the access key': accessKeyId,
    'the secret access key': secretAccessKey.reveal(),
    'the session token': sessionToken?.reveal() ?? '',
  };
  for (const [name, value] of Object.entries(values)) {
    if (!/[^\x21-\x7e]/.test(value)) continue;
    throw new StoreError('denied', {
      message: `${name} has a space, a line break or another character in it that no key has`,
      next: 'check the credentials: was something copied along with them, at the beginning or the end?',
    });
  }
}

/** A kept connection that turned out to be closed. */
class StaleConnection extends Error {}

function isHangUp(error: Error): boolean {
  return hasCode(error, 'ECONNRESET', 'EPIPE') || error.message === 'socket hang up';
}

/** Go's clients, Litestream's too, never ask a proxy for this machine itself. */
function isLocal(hostname: string): boolean {
  return /^(localhost|.*\.localhost|127(\.\d+){3}|::1)$/.test(hostname);
}

async function sendBody(
  outgoing: http.ClientRequest,
  body: Uint8Array | undefined,
  pace: RequestOptions['pace'],
): Promise<void> {
  if (!body || !pace) {
    outgoing.end(body);
    return;
  }
  for (let at = 0; at < body.length; at += PACED_PIECE_BYTES) {
    const piece = body.subarray(at, at + PACED_PIECE_BYTES);
    await pace(piece.length);
    if (outgoing.destroyed) return;
    if (!outgoing.write(piece)) await drained(outgoing);
  }
  outgoing.end();
}

function drained(outgoing: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done).off('close', done);
      resolve();
    };
    outgoing.once('drain', done).once('close', done);
  });
}

/** All of an answer as text. Longer ones are an error, or cut. */
async function readText(
  response: http.IncomingMessage,
  limitBytes: number,
  place: S3Place,
  action: S3Action,
  signal: AbortSignal | undefined,
  onLimit: 'fail' | 'cut' = 'fail',
): Promise<string> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const piece of response) {
      pieces.push(piece);
      sizeBytes += piece.length;
      if (sizeBytes <= limitBytes) continue;
      if (onLimit === 'cut') break;
      throw new StoreError('permanent', { message: `cannot ${action.what}: the answer does not end` });
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw networkError(place, action, error);
  }
  return Buffer.concat(pieces).toString('utf8', 0, limitBytes);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function oneHeader(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** `Retry-After`: seconds, or a date by the clock of the server, at which it is `nowMs`. */
export function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000;
  const untilMs = Date.parse(value);
  return Number.isNaN(untilMs) ? undefined : Math.max(untilMs - nowMs, 0);
}
