import type { IncomingMessage } from 'node:http';
import { type ObjectReader, StoreError } from '../store.ts';
import type { DirectBody } from './direct-body.ts';
import { networkError, type S3Action, type S3Place } from './s3-errors.ts';

/** The answer to a request for an object. */
export interface S3ObjectAnswer {
  readonly response: IncomingMessage;
  /** Its body; undefined: it is to be read from the response itself. */
  readonly direct: DirectBody | undefined;
}

export interface S3ReaderOptions {
  readonly answer: S3ObjectAnswer;
  readonly place: S3Place;
  readonly action: S3Action;
  readonly signal: AbortSignal | undefined;
  /** How many bytes the answer has; undefined: it does not say. */
  readonly expectedBytes: number | undefined;
  /** How many of them are wanted. */
  readonly limitBytes: number | undefined;
}

/** The body of an answer, pulled. An end that comes before the bytes that were announced is a failure, not an end. */
export class S3Reader implements ObjectReader {
  readonly version: string | undefined;
  readonly #options: S3ReaderOptions;
  readonly #body: Pick<DirectBody, 'read'>;
  #wantedBytes: number;
  #receivedBytes = 0;
  #ended = false;

  constructor(options: S3ReaderOptions) {
    const { response, direct } = options.answer;
    this.version = response.headers.etag;
    this.#options = options;
    this.#body = direct ?? new PieceBody(response, options.expectedBytes);
    this.#wantedBytes = options.limitBytes ?? Number.POSITIVE_INFINITY;
  }

  async read(target: Uint8Array): Promise<number> {
    const { action, place, signal, expectedBytes } = this.#options;
    signal?.throwIfAborted();
    if (this.#wantedBytes === 0 || this.#ended) return 0;
    let count: number;
    try {
      count = await this.#body.read(target.subarray(0, Math.min(target.length, this.#wantedBytes)));
    } catch (error) {
      signal?.throwIfAborted();
      throw networkError(place, action, error);
    }
    this.#wantedBytes -= count;
    this.#receivedBytes += count;
    this.#ended = count === 0 || this.#receivedBytes === expectedBytes;
    if (count > 0 || expectedBytes === undefined || this.#receivedBytes === expectedBytes) return count;
    throw new StoreError('transient', {
      message: `cannot ${action.what}: ${this.#receivedBytes} of ${expectedBytes} bytes came`,
    });
  }

  /** A body that was not read to its end closes its connection: draining the rest could cost more than a new one. */
  async close(): Promise<void> {
    if (!this.#ended) this.#options.answer.response.destroy();
  }
}

/** A body as Node's client gives it, in pieces. */
class PieceBody {
  readonly #pieces: AsyncIterator<Buffer>;
  readonly #expectedBytes: number | undefined;
  #piece: Buffer = Buffer.alloc(0);
  #receivedBytes = 0;

  constructor(response: IncomingMessage, expectedBytes: number | undefined) {
    this.#pieces = response[Symbol.asyncIterator]();
    this.#expectedBytes = expectedBytes;
  }

  async read(target: Uint8Array): Promise<number> {
    // A server may send pieces of no bytes, which are no end.
    while (this.#piece.length === 0) {
      const { value, done } = await this.#pieces.next();
      if (done) return 0;
      this.#piece = value;
      this.#receivedBytes += value.length;
      // The last bytes are here: take the end of the message, too, so that the connection is free for the next request.
      if (this.#receivedBytes !== this.#expectedBytes) continue;
      if (!(await this.#pieces.next()).done) throw new Error('more bytes than announced');
    }
    const count = Math.min(this.#piece.length, target.length);
    target.set(this.#piece.subarray(0, count));
    this.#piece = this.#piece.subarray(count);
    return count;
  }
}

/** The end of an object from which a range begins: nothing to read. */
export const NOTHING: ObjectReader = {
  read: async () => 0,
  close: async () => undefined,
};
