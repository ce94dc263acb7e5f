import { assert } from '../base/errors.ts';
import { kernel, type Region } from '../kernel/kernel.ts';

/** A piece of a file to be read: `length` bytes, at most the size of a prefetch buffer. */
export interface Piece {
  readonly length: number;
}

export interface PrefetchOptions {
  /** Pieces that are being read at a time. */
  readonly depth: number;
  /** Bytes of one buffer. There are up to `depth + 1`: one is being worked on while the others fill. */
  readonly bufferBytes: number;
  readonly signal: AbortSignal;
}

/** A piece whose bytes have come. They are valid until the next one is asked for. */
export interface Fetched<T extends Piece> {
  readonly piece: T;
  readonly region: Region;
}

interface Pending<T extends Piece> {
  readonly piece: T;
  readonly region: Region;
  readonly done: Promise<void>;
}

/**
 * Reads pieces into kernel memory, some ahead of the one that is worked on, and hands them out in order. However it ends, no
 * read is under way any more when it has: their buffers go back to the kernel.
 */
export async function* prefetch<T extends Piece>(
  pieces: Iterable<T>,
  options: PrefetchOptions,
  read: (piece: T, target: Uint8Array, signal: AbortSignal) => Promise<void>,
): AsyncGenerator<Fetched<T>> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const buffers: Region[] = [];
  const free: Region[] = [];
  const pending: Pending<T>[] = [];
  const source = pieces[Symbol.iterator]();
  const startNext = (): void => {
    const next = source.next();
    if (next.done) return;
    assert(next.value.length <= options.bufferBytes, 'a piece fits its buffer');
    const region = free.pop() ?? kernel().allocate(options.bufferBytes);
    if (!buffers.includes(region)) buffers.push(region);
    const done = read(next.value, region.bytes.subarray(0, next.value.length), signal);
    done.catch(() => undefined); // it is awaited later, perhaps after another one has failed
    pending.push({ piece: next.value, region, done });
  };
  try {
    for (let i = 0; i < options.depth; i++) startNext();
    for (let current = pending.shift(); current; current = pending.shift()) {
      await current.done;
      startNext();
      yield { piece: current.piece, region: current.region };
      free.push(current.region);
    }
  } finally {
    stop.abort();
    await Promise.allSettled(pending.map((p) => p.done));
    for (const region of buffers) region[Symbol.dispose]();
  }
}
