import { lockPageNumber } from '../sqlite/lock-page.ts';
import {
  decodeTrailer,
  HEADER_SIZE,
  INDEX_SIZE_FIELD,
  type LtxHeader,
  type LtxTrailer,
  MIN_FILE_SIZE,
  PAGE_HEADER_SIZE,
  TRAILER_SIZE,
} from './format.ts';
import { readVarint } from './frame-list.ts';
import { LtxError } from './ltx-error.ts';

/** Where the page index of a file lies, in bytes from the file's start. */
export interface IndexLocation {
  readonly offset: number;
  /** Bytes, the terminating zero included, the size field not. */
  readonly size: number;
}

/** Bytes at a file's end that always suffice for {@link locateIndex} and {@link readTrailer}. */
export const TAIL_BYTES = INDEX_SIZE_FIELD + TRAILER_SIZE;

/** Reads from the last bytes of a file ({@link TAIL_BYTES} or more) where its page index is. */
export function locateIndex(tail: Uint8Array, fileSizeBytes: number): IndexLocation {
  if (fileSizeBytes < MIN_FILE_SIZE || tail.length < TAIL_BYTES) {
    throw new LtxError('truncated', `${fileSizeBytes} bytes are too few for an LTX file`);
  }
  const bytes = Buffer.from(tail.buffer, tail.byteOffset + tail.length - TAIL_BYTES, TAIL_BYTES);
  const size = bytes.readBigUInt64BE(0);
  const offset = BigInt(fileSizeBytes - TAIL_BYTES) - size;
  if (size === 0n || offset < BigInt(HEADER_SIZE + PAGE_HEADER_SIZE)) {
    throw new LtxError('index', `its size of ${size} bytes does not fit a file of ${fileSizeBytes} bytes`);
  }
  return { offset: Number(offset), size: Number(size) };
}

/** Reads the trailer from the last bytes of a file. */
export function readTrailer(tail: Uint8Array, header: Pick<LtxHeader, 'flags'>): LtxTrailer {
  if (tail.length < TRAILER_SIZE) throw new LtxError('truncated', 'the file ends in its trailer');
  return decodeTrailer(tail.subarray(tail.length - TRAILER_SIZE), header);
}

/** The page frames of a file: frame i holds page `pgnos[i]`, at byte `offsets[i]`, `lengths[i]` bytes long. */
export interface PageIndex {
  readonly count: number;
  readonly pgnos: Uint32Array;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
}

/**
 * Reads a page index (its bytes as located by {@link locateIndex}) and checks it: ascending pages that can be stored,
 * frames that lie side by side from the header to the end of the page block.
 */
export function decodePageIndex(
  bytes: Uint8Array,
  location: IndexLocation,
  header: Pick<LtxHeader, 'pageSize' | 'commit'>,
): PageIndex {
  if (bytes.length !== location.size)
    throw new LtxError('truncated', `index: ${bytes.length} of ${location.size} bytes`);
  const lock = lockPageNumber(header.pageSize);
  // An entry takes at least three bytes, so this bound holds whatever the bytes say.
  const most = Math.min(header.commit, Math.floor(bytes.length / 3));
  const pgnos = new Uint32Array(most);
  const offsets = new Float64Array(most);
  const lengths = new Uint32Array(most);
  let count = 0;
  let at = 0;
  let expected = HEADER_SIZE;
  let last = 0;
  for (;;) {
    const pgno = readVarint(bytes, at);
    at = pgno.next;
    if (pgno.value === 0) break;
    const offset = readVarint(bytes, at);
    const length = readVarint(bytes, offset.next);
    at = length.next;
    if (!(pgno.value > last && pgno.value <= header.commit && pgno.value !== lock)) {
      throw new LtxError('index', `entry ${count + 1}: page ${pgno.value} cannot come after page ${last} here`);
    }
    if (offset.value !== expected || !(length.value > PAGE_HEADER_SIZE)) {
      throw new LtxError('index', `entry ${count + 1}: page ${pgno.value} is not where its frame must be`);
    }
    pgnos[count] = pgno.value;
    offsets[count] = offset.value;
    lengths[count] = length.value;
    count++;
    last = pgno.value;
    expected += length.value;
  }
  if (at !== bytes.length) throw new LtxError('index', 'bytes after its end');
  if (expected + PAGE_HEADER_SIZE !== location.offset) {
    throw new LtxError('index', 'its frames do not fill the page block of the file');
  }
  return {
    count,
    pgnos: pgnos.subarray(0, count),
    offsets: offsets.subarray(0, count),
    lengths: lengths.subarray(0, count),
  };
}
