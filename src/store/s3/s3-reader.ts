import type { IncomingMessage } from 'node:http';
import { type ObjectReader, StoreError } from '../store.ts';
import { networkError, type S3Action, type S3Place } from './s3-errors.ts';

export interface S3ReaderOptions {
  readonly response: IncomingMessage;
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
  readonly #response: IncomingMessage;
  readonly #place: S3Place;
  readonly #action: S3Action;
  readonly #signal: AbortSignal | undefined;
  readonly #pieces: AsyncIterator<Buffer>;
  readonly #expectedBytes: number | undefined;
  #piece: Buffer = Buffer.alloc(0);
  #wantedBytes: number;
  #receivedBytes = 0;
  #ended = false;

  constructor({ response, place, action, signal, expectedBytes, limitBytes }: S3ReaderOptions) {
    this.#response = response;
    this.#place = place;
    this.#action = action;
    this.#signal = signal;
    this.version = response.headers.etag;
    this.#expectedBytes = expectedBytes;
    this.#wantedBytes = limitBytes ?? Number.POSITIVE_INFINITY;
    this.#pieces = response[Symbol.asyncIterator]();
  }

  async read(target: Uint8Array): Promise<number> {
    this.#signal?.throwIfAborted();
    if (this.#wantedBytes === 0) return 0;
    // A server may send pieces of no bytes, which are no end.
    while (this.#piece.length === 0 && !this.#ended) await this.#next();
    const count = Math.min(this.#piece.length, target.length, this.#wantedBytes);
    target.set(this.#piece.subarray(0, count));
    this.#piece = this.#piece.subarray(count);
    this.#wantedBytes -= count;
    return count;
  }

  /** A body that was not read to its end closes its connection: draining the rest could cost more than a new one. */
  async close(): Promise<void> {
    if (!this.#ended) this.#response.destroy();
  }

  async #next(): Promise<void> {
    try {
      const { value, done } = await this.#pieces.next();
      if (!done) {
        this.#piece = value;
        this.#receivedBytes += value.length;
        // The last bytes are here: take the end of the message, too, so that the connection is free for the next request.
        if (this.#receivedBytes !== this.#expectedBytes) return;
        if (!(await this.#pieces.next()).done) throw new Error('more bytes than announced');
      }
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw networkError(this.#place, this.#action, error);
    }
    this.#ended = true;
    if (this.#expectedBytes === undefined || this.#receivedBytes === this.#expectedBytes) return;
    throw new StoreError('transient', {
      message: `cannot ${this.#action.what}: ${this.#receivedBytes} of ${this.#expectedBytes} bytes came`,
    });
  }
}

/** The end of an object from which a range begins: nothing to read. */
export const NOTHING: ObjectReader = {
  read: async () => 0,
  close: async () => undefined,
};
