import { assert } from '../base/errors.ts';
import { CHECKSUM_FLAG, type Checksum, checksum, txid } from '../base/types.ts';
import { kernel } from '../kernel/kernel.ts';
import { crcOf } from './encoder.ts';
import {
  decodeHeader,
  encodeHeader,
  INDEX_SIZE_FIELD,
  imagePageCount,
  type LtxTrailer,
  PAGE_HEADER_SIZE,
  TRAILER_SIZE,
} from './format.ts';

/** Bytes of the compressed size before each page's data, as our encoder writes it. */
const BLOCK_SIZE_FIELD = 4;
const POST_APPLY_SIZE = 8;

/** What a file that holds every page needs changed to be the snapshot of the same state. */
export interface SnapshotEnds {
  /** Takes the place of the header. */
  readonly head: Uint8Array;
  /** Takes the place of the file checksum in the trailer. */
  readonly fileChecksum: Checksum;
}

/**
 * Makes a complete image of a later TXID, as our encoder writes it, one that begins at TXID 1: only the header differs, and the
 * checksum by what that adds to it. `indexBytes`: the size of the page index, its terminating zero included.
 */
export function asSnapshot(head: Uint8Array, trailer: LtxTrailer, indexBytes: number): SnapshotEnds {
  const header = decodeHeader(head);
  const snapshot = encodeHeader({ ...header, minTxid: txid(1n) });
  const { commit, pageSize } = header;
  const hashedAfterHead =
    imagePageCount(commit, pageSize) * (PAGE_HEADER_SIZE + BLOCK_SIZE_FIELD + pageSize) +
    PAGE_HEADER_SIZE +
    indexBytes +
    INDEX_SIZE_FIELD +
    POST_APPLY_SIZE;
  assert(trailer.postApplyChecksum === 0n, 'our files carry no post-apply checksum');
  // A CRC is linear: two files that differ in their first bytes differ in it by what those bytes differ by, moved on.
  const { fn } = kernel();
  const shift = fn.crc_combine(crcOf(0n, head) ^ crcOf(0n, snapshot), 0n, BigInt(hashedAfterHead));
  const sum = BigInt.asUintN(64, trailer.fileChecksum ^ BigInt.asUintN(64, shift));
  return { head: snapshot, fileChecksum: checksum(sum | CHECKSUM_FLAG) };
}

/** Where in a file of this size its checksum is. */
export function checksumOffset(sizeBytes: number): number {
  return sizeBytes - TRAILER_SIZE + POST_APPLY_SIZE;
}
