import { readFully } from '../base/durable-file.ts';
import { assert } from '../base/errors.ts';
import { kernel, type Region } from '../kernel/kernel.ts';
import {
  frameOffset,
  frameSize,
  readWalHeader,
  type Salts,
  saltsEqual,
  WAL_HEADER_SIZE,
  type WalHeader,
  type WalSums,
} from '../sqlite/wal.ts';

/** Bytes of WAL that are read at once. */
const READ_BYTES = 256 * 1024;

/** Frames read from the WAL, proven by salts and checksum chain; valid until the next read. */
export interface FrameBatch {
  /** Index of the first frame, from 0. */
  readonly first: number;
  readonly count: number;
  pgno(i: number): number;
  /** Database size in pages if frame i commits, 0 if not. */
  commit(i: number): number;
  /** Address of its page in kernel memory. */
  pageAt(i: number): number;
  /** Its page. */
  page(i: number): Uint8Array;
  /** The checksum chain after frame i. */
  sums(i: number): WalSums;
}

/** The frames did not carry on from the position: the WAL is not what the WAL-index said, or not what it was. */
export type WalBreak = 'no-header' | 'short' | 'chain';

/** Where a walk through one generation of the WAL stands. */
export interface WalCursor {
  readonly salts: Salts;
  /** Frames read so far. */
  readonly frames: number;
  /** Checksum of the last of them; undefined before the first. */
  readonly sums: WalSums | undefined;
}

/** Bytes of frames after which a {@link walk} may pause. */
const TURN_BYTES = 8 * 1024 * 1024;

/** Reads frames of the WAL through kernel memory and proves each one before it is handed out. */
export class WalReader implements FrameBatch {
  readonly #fd: number;
  /** Bytes a page. */
  readonly pageSize: number;
  readonly #capacity: number;
  readonly #input: Region;
  readonly #chain: Region;
  readonly #salts: Region;
  readonly #out: Region;
  readonly #pairs: Uint32Array;
  #headerRead: WalHeader | undefined;
  first = 0;
  count = 0;

  constructor(fd: number, pageSize: number) {
    this.#fd = fd;
    this.pageSize = pageSize;
    this.#capacity = Math.max(1, Math.floor(READ_BYTES / frameSize(pageSize)));
    this.#input = kernel().allocate(this.#capacity * frameSize(pageSize));
    this.#chain = kernel().allocate(8);
    this.#salts = kernel().allocate(8);
    this.#out = kernel().allocate(this.#capacity * 8 + 8);
    this.#pairs = this.#out.u32;
  }

  /**
   * Reads the next frames after `cursor`, up to frame count `limit`. Returns the cursor after them, with the frames in
   * this object, or what is wrong.
   */
  read(cursor: WalCursor, limit: number): WalCursor | WalBreak {
    const header = this.#header(cursor);
    if (!header) return 'no-header';
    const wanted = Math.min(limit - cursor.frames, this.#capacity);
    assert(wanted > 0, 'there are frames to read');
    const bytes = wanted * frameSize(this.pageSize);
    const target = this.#input.bytes.subarray(0, bytes);
    if (readFully(this.#fd, target, frameOffset(cursor.frames, this.pageSize)) < bytes) return 'short';
    const start = cursor.sums ?? header.sums;
    const sums = this.#chain.u32;
    sums[0] = start.first;
    sums[1] = start.second;
    this.#salts.bytes.set(cursor.salts);
    const valid = kernel().fn.wal_frames(
      this.#input.pointer,
      this.pageSize,
      wanted,
      header.bigEndianChecksums ? 1 : 0,
      this.#salts.pointer,
      this.#chain.pointer,
      this.#out.pointer,
    );
    if (valid < wanted) return 'chain';
    this.first = cursor.frames;
    this.count = wanted;
    return {
      salts: cursor.salts,
      frames: cursor.frames + wanted,
      sums: { first: sums[0] ?? 0, second: sums[1] ?? 0 },
    };
  }

  /** Reads one page out of a frame that was proven before and is still protected by a read transaction. */
  readPage(frame: number, target: Uint8Array): void {
    const got = readFully(this.#fd, target, frameOffset(frame, this.pageSize) + frameSize(0));
    assert(got === target.length, 'a protected frame is whole');
  }

  pgno(i: number): number {
    return this.#pairs[2 * i] ?? 0;
  }

  commit(i: number): number {
    return this.#pairs[2 * i + 1] ?? 0;
  }

  pageAt(i: number): number {
    return this.#input.pointer + i * frameSize(this.pageSize) + frameSize(0);
  }

  page(i: number): Uint8Array {
    const at = i * frameSize(this.pageSize) + frameSize(0);
    return this.#input.bytes.subarray(at, at + this.pageSize);
  }

  sums(i: number): WalSums {
    const at = i * frameSize(this.pageSize);
    const header = Buffer.from(this.#input.bytes.subarray(at, at + frameSize(0)));
    return { first: header.readUInt32BE(16), second: header.readUInt32BE(20) };
  }

  [Symbol.dispose](): void {
    for (const region of [this.#input, this.#chain, this.#salts, this.#out]) region[Symbol.dispose]();
  }

  /** Of the cursor's generation. It is read once: frames tell by themselves when they are of another one. */
  #header(cursor: WalCursor): WalHeader | undefined {
    if (this.#headerRead && saltsEqual(this.#headerRead.salts, cursor.salts)) return this.#headerRead;
    const bytes = Buffer.alloc(WAL_HEADER_SIZE);
    if (readFully(this.#fd, bytes, 0) < WAL_HEADER_SIZE) return undefined;
    const header = readWalHeader(bytes);
    if (!header || header.pageSize !== this.pageSize || !saltsEqual(header.salts, cursor.salts)) return undefined;
    this.#headerRead = header;
    return header;
  }
}

/**
 * Walks the WAL from its first frame up to frame count `until`, in steps between which other work can get its turn. Returns where it
 * stands then, or undefined when the frames do not prove themselves.
 */
export function* walk(
  wal: WalReader,
  salts: Salts,
  until: number,
  visit: (frames: FrameBatch) => void = () => undefined,
): Generator<undefined, WalCursor | undefined> {
  let cursor: WalCursor = { salts, frames: 0, sums: undefined };
  let bytes = 0;
  while (cursor.frames < until) {
    const next = wal.read(cursor, until);
    if (typeof next === 'string') return undefined;
    visit(wal);
    cursor = next;
    bytes += wal.count * frameSize(wal.pageSize);
    if (bytes < TURN_BYTES) continue;
    bytes = 0;
    yield;
  }
  return cursor;
}
