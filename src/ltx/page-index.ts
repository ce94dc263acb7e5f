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
