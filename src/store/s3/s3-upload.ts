import * as fs from 'node:fs/promises';
import { forEachLimited } from '../../base/async.ts';
import { hasCode, messageOf } from '../../base/errors.ts';
import { type PutBody, StoreError } from '../store.ts';

/** What a store takes at most: more parts than this, and the parts must be larger. */
const MAX_PARTS = 10_000;
const MIB = 1024 * 1024;

/** The bytes of a body, piece by piece and in any order, as often as they are wanted. */
export interface BodySource {
  readonly sizeBytes: number;
  /** `memory` is used for them where it is large enough and some is needed. */
  read(offset: number, length: number, memory?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Opens a body. A file that is missing or not of the size announced is a permanent error. */
export async function openBody(body: PutBody): Promise<BodySource> {
  if ('bytes' in body) {
    const { bytes } = body;
    return {
      sizeBytes: bytes.length,
      read: async (offset, length) => unshared(bytes.subarray(offset, offset + length)),
      close: async () => undefined,
    };
  }
  const { file, sizeBytes } = body;
  const handle = await openFile(file, sizeBytes);
  return {
    sizeBytes,
    read: async (offset, length, memory) => {
      const target = memory && memory.length >= length ? memory.subarray(0, length) : Buffer.allocUnsafe(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(target, done, length - done, offset + done);
        if (bytesRead === 0) throw unusable(file, 'it became shorter');
        done += bytesRead;
      }
      return target;
    },
    close: () => handle.close(),
  };
}

/** Memory shared between threads may change while it is signed and sent, and not every API takes it. */
function unshared(bytes: Uint8Array): Uint8Array {
  return bytes.buffer instanceof SharedArrayBuffer ? Uint8Array.from(bytes) : bytes;
}

async function openFile(file: string, sizeBytes: number): Promise<fs.FileHandle> {
  let handle: fs.FileHandle;
  try {
    handle = await fs.open(file);
  } catch (error) {
    throw unusable(file, hasCode(error, 'ENOENT') ? 'it is not there' : messageOf(error));
  }
  const { size } = await handle.stat();
  if (size === sizeBytes) return handle;
  await handle.close();
  throw unusable(file, `it has ${size} bytes and not ${sizeBytes}`);
}

function unusable(file: string, why: string): StoreError {
  return new StoreError('permanent', {
    message: `cannot store ${file}: ${why}`,
    kept: 'nothing was stored',
  });
}

/** The part size for an object: as configured, or in whole MiB so large that the parts are not too many. */
export function partSizeFor(sizeBytes: number, configuredBytes: number): number {
  const least = Math.ceil(sizeBytes / MAX_PARTS);
  return least <= configuredBytes ? configuredBytes : Math.ceil(least / MIB) * MIB;
}

/** Sends part `number` (from 1); returns its ETag. */
export type SendPart = (number: number, bytes: Uint8Array, signal: AbortSignal) => Promise<string>;

export interface PartsOptions {
  readonly partSizeBytes: number;
  /** Parts under way at a time. */
  readonly concurrency: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Sends all parts of a body; returns their ETags in order. When one fails the others are ended, and none is under way any
 * more when this rejects: a part that arrives after the end of its upload would stay, unseen and paid for.
 */
export async function sendParts(source: BodySource, options: PartsOptions, send: SendPart): Promise<string[]> {
  const { partSizeBytes, concurrency } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const failures: unknown[] = [];
  // Left to the garbage collector, the memory of sent parts grows to many times what is in use.
  const spare: Uint8Array[] = [];
  const count = Math.ceil(source.sizeBytes / partSizeBytes);
  const etags = new Array<string>(count);
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  await forEachLimited(numbers, concurrency, async (number, index) => {
    if (signal.aborted) return;
    try {
      const offset = index * partSizeBytes;
      const bytes = await source.read(offset, Math.min(partSizeBytes, source.sizeBytes - offset), spare.pop());
      etags[index] = await send(number, bytes, signal);
      spare.push(bytes); // the store has all of it; after a failure, some of it may still be on its way
    } catch (error) {
      failures.push(error);
      stop.abort(error);
    }
  });
  options.signal?.throwIfAborted();
  if (failures.length > 0) throw failures[0];
  return etags;
}
