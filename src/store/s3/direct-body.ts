import type { Agent, IncomingMessage } from 'node:http';
import type { OnReadOpts, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/*
 * Node's HTTP client copies each piece of a body twice, into memory that it then throws away: of an object of many MiB that is
 * most of what reading it costs. Here the socket reads straight into the memory of whoever wants the bytes. The heads of
 * answers, and all other answers, go through Node's parser as ever. To keep the parser in step, a head that it sees says that
 * the body comes in chunks, and when the body has gone by it is given the empty chunk that ends one.
 */

/** Where all sockets read what has no other place to go; it is copied from here before the next one reads. */
const BOUNCE = Buffer.allocUnsafeSlow(64 * 1024);
/** Longer heads are Node's to refuse. */
const MAX_HEAD_BYTES = 32 * 1024;
const END_OF_HEAD = '\r\n\r\n';
const LAST_CHUNK = Buffer.from('0\r\n\r\n');
const NOTHING = Buffer.alloc(0);

const taps = new WeakMap<object, SocketTap>();

/** Has the connections that `agent` makes read as described above. Not for one whose connections go through a proxy. */
export function readDirectly(agent: Agent): void {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const tap = new SocketTap();
    const withTap: typeof options & { onread: OnReadOpts } = { ...options, onread: tap.onread };
    const socket = connect(withTap, callback);
    if (socket) tap.attach(socket as Socket); // agents make no other kind
    return socket;
  };
}

/** Asks for the body of the next answer on this connection, which has not begun yet. */
export function expectBody(connection: Duplex): void {
  taps.get(connection)?.expect();
}

/** The body that was asked for; undefined when it has to be read from the answer itself. */
export function directBodyOf(answer: IncomingMessage): DirectBody | undefined {
  return taps.get(answer.socket)?.bodyOf(answer);
}

/** What comes in on one connection. */
class SocketTap {
  #socket: Socket | undefined;
  #state: 'passing' | 'head' | 'body' = 'passing';
  /** What has come of the head of an answer whose body is asked for. */
  #head: Buffer = NOTHING;
  #body: DirectBody | undefined;
  /** The socket reads into the memory of whoever wants the body. */
  #readsDirectly = false;

  readonly onread: OnReadOpts = {
    buffer: () => {
      const place = this.#state === 'body' ? this.#body?.place : undefined;
      this.#readsDirectly = place !== undefined;
      return place ?? BOUNCE;
    },
    callback: (count, buffer) => {
      if (this.#readsDirectly) this.#body?.filled(count);
      else this.#take(Buffer.from(buffer.subarray(0, count)));
      // False pauses the socket: nobody has said where more should go.
      return this.#state !== 'body' || this.#body?.isWanted === true;
    },
  };

  attach(socket: Socket): void {
    this.#socket = socket;
    taps.set(socket, this);
  }

  expect(): void {
    this.#state = 'head';
    this.#head = NOTHING;
    this.#body = undefined;
  }

  bodyOf(answer: IncomingMessage): DirectBody | undefined {
    this.#body?.belongTo(answer);
    return this.#body;
  }

  #take(bytes: Buffer): void {
    if (this.#state === 'head') this.#takeHead(Buffer.concat([this.#head, bytes]));
    else if (this.#state === 'body') this.#takeBody(bytes);
    else this.#socket?.push(bytes);
  }

  #takeHead(bytes: Buffer): void {
    const end = bytes.indexOf(END_OF_HEAD);
    if (end < 0 && bytes.length <= MAX_HEAD_BYTES) {
      this.#head = bytes;
      return;
    }
    this.#head = NOTHING;
    const head = bytes.toString('latin1', 0, end + END_OF_HEAD.length);
    const rest = bytes.subarray(head.length);
    const chunked = end < 0 ? undefined : asChunked(head);
    if (chunked && this.#socket) {
      this.#state = 'body';
      this.#body = new DirectBody(this.#socket, chunked.sizeBytes);
      this.#socket.push(Buffer.from(chunked.head, 'latin1'));
      this.#takeBody(rest);
    } else {
      this.#state = 'passing';
      this.#socket?.push(bytes);
    }
  }

  #takeBody(bytes: Buffer): void {
    const taken = this.#body?.take(bytes) ?? 0;
    if (!this.#body?.isWhole) return;
    this.#state = 'passing';
    // What comes after the body is the parser's to judge.
    this.#socket?.push(Buffer.concat([LAST_CHUNK, bytes.subarray(taken)]));
  }
}

/**
 * The head of an answer whose body has a known length, as if it came in chunks; undefined for all others. (A second length
 * stays, and has the parser refuse the head.)
 */
function asChunked(head: string): { readonly head: string; readonly sizeBytes: number } | undefined {
  const isPlain = /^HTTP\/1\.1 20[06] /.test(head) && !/\r\n(?:[ \t]|transfer-encoding[ \t]*:)/i.test(head);
  const length = /\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*(?=\r\n)/i.exec(head);
  const sizeBytes = Number(length?.[1] ?? 0);
  if (!isPlain || !length || sizeBytes === 0) return undefined;
  return { head: head.replace(length[0], '\r\nTransfer-Encoding: chunked'), sizeBytes };
}

/** A body on its way from a socket into the memory of its reader. One reads at a time. */
export class DirectBody {
  readonly sizeBytes: number;
  readonly #socket: Socket;
  #answer: IncomingMessage | undefined;
  #receivedBytes = 0;
  /** Bytes that came where nobody wanted any. */
  #kept: Buffer = NOTHING;
  #target: Uint8Array = NOTHING;
  #filled = 0;
  /** Ends the wait for the target to be filled. */
  #wake: (() => void) | undefined;
  #ended: Promise<void> | undefined;
  #failure: Error | undefined;

  constructor(socket: Socket, sizeBytes: number) {
    this.#socket = socket;
    this.sizeBytes = sizeBytes;
  }

  /** Everything has come, though perhaps not yet gone. */
  get isWhole(): boolean {
    return this.#receivedBytes === this.sizeBytes;
  }

  /** Nobody wants the bytes that lie at the socket: it is not the server that keeps silent. */
  get holdsBack(): boolean {
    return !this.isWhole && this.#wake === undefined;
  }

  /** Somebody waits for more. */
  get isWanted(): boolean {
    return !this.isWhole && this.#filled < this.#target.length;
  }

  /** Where to read to at once. The end of a body goes another way, with room for a byte that comes after it. */
  get place(): Uint8Array | undefined {
    const most = this.sizeBytes - this.#receivedBytes - (BOUNCE.length - 1);
    return this.isWanted && most > 0 ? this.#target.subarray(this.#filled, this.#filled + most) : undefined;
  }

  /** So many bytes have been read to where they were wanted. */
  filled(count: number): void {
    this.#receivedBytes += count;
    this.#filled += count;
    if (this.isWhole || this.#filled === this.#target.length) this.#wake?.();
  }

  /** Takes its own of `bytes`, and says how many these are. */
  take(bytes: Buffer): number {
    const count = Math.min(bytes.length, this.sizeBytes - this.#receivedBytes);
    const own = bytes.subarray(0, count);
    const now = own.subarray(0, this.#target.length - this.#filled);
    this.#target.set(now, this.#filled);
    this.#kept = Buffer.concat([this.#kept, own.subarray(now.length)]);
    this.#receivedBytes += count - now.length;
    this.filled(now.length);
    return count;
  }

  /** `answer` tells how it ends. */
  belongTo(answer: IncomingMessage): void {
    if (this.#answer) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const fail = (error: Error): void => {
      this.#failure ??= error;
      this.#wake?.();
      resolve();
    };
    answer.on('end', resolve);
    answer.on('error', fail);
    answer.on('close', () => {
      if (!answer.readableEnded) fail(new Error('the connection was closed'));
    });
    this.#answer = answer;
    this.#ended = promise;
  }

  /** Fills `target` as far as the body goes: with less only when nothing more will come, or when it broke off. */
  async read(target: Uint8Array): Promise<number> {
    const kept = this.#kept.subarray(0, target.length);
    target.set(kept);
    this.#kept = this.#kept.subarray(kept.length);
    this.#target = target;
    this.#filled = kept.length;
    if (this.isWanted && !this.#failure) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      this.#socket.resume();
      await promise;
      this.#wake = undefined;
    }
    const filled = this.#filled;
    this.#target = NOTHING;
    this.#filled = 0;
    if (this.isWhole && this.#kept.length === 0) {
      // With the end of the message the connection is free for the next request.
      this.#answer?.resume();
      await this.#ended;
    }
    if (filled === 0 && this.#failure) throw this.#failure;
    return filled;
  }
}
