import { CHECKSUM_FLAG, type Checksum, checksum, formatTxid, type Txid, txid } from '../base/types.ts';
import { isPageSize, lockPageNumber } from '../sqlite/lock-page.ts';
import { LtxError } from './ltx-error.ts';

/*
 * LTX v0.5. All fixed-width integers are big-endian.
 *
 *   header (100) | page frames | zero page header (6) | page index | index size (8) | trailer (16)
 *
 * Header:
 * | offset | bytes | field                                                                  |
 * | ------ | ----- | ---------------------------------------------------------------------- |
 * | 0      | 4     | magic "LTX1"                                                           |
 * | 4      | 4     | flags; 0x2 = NoChecksum (always set by Litestream and by us)           |
 * | 8      | 4     | page size, bytes                                                       |
 * | 12     | 4     | commit: database size after this file, pages                           |
 * | 16, 24 | 8 + 8 | first and last TXID                                                    |
 * | 32     | 8     | timestamp, ms since 1970                                               |
 * | 40     | 8     | pre-apply checksum; 0 under NoChecksum and in snapshots                |
 * | 48, 56 | 8 + 8 | WAL offset and size, bytes; 0 in merged files                          |
 * | 64, 68 | 4 + 4 | WAL salts                                                              |
 * | 72     | 8     | node id, 0                                                             |
 * | 80     | 8     | reserved; here: database checksum after this file, 0 = unknown (ours)  |
 * | 88     | 12    | reserved, 0                                                            |
 *
 * Page frame: {page number u32, flags u16}, then
 *   flags 1: {compressed size u32, LZ4 block} (Litestream 0.5.16 and later), or
 *   flags 0: one LZ4 frame (Litestream 0.5.0 to 0.5.15).
 * Page numbers ascend strictly; the lock page is never stored.
 *
 * Page index: per page unsigned LEB128 {page number, offset of its frame, length of its frame}; then 0; then u64 with the
 * bytes of all that.
 *
 * Trailer: post-apply checksum u64 (0 under NoChecksum), file checksum u64: CRC-64 (ISO, bit 63 set) of everything before
 * it with each page's *uncompressed* bytes in place of its compressed ones.
 */

export const HEADER_SIZE = 100;
export const PAGE_HEADER_SIZE = 6;
export const TRAILER_SIZE = 16;
/** Bytes of the u64 between index and trailer. */
export const INDEX_SIZE_FIELD = 8;
/** The least that a whole LTX file can be: no pages, an index of one zero byte. */
export const MIN_FILE_SIZE = HEADER_SIZE + PAGE_HEADER_SIZE + 1 + INDEX_SIZE_FIELD + TRAILER_SIZE;

const MAGIC = 0x4c54_5831;
/** The only flag that exists: no pre- and post-apply checksums. */
export const FLAG_NO_CHECKSUM = 0x2;

/** Where in the WAL an L0 file's frames were. A file that is not a range of the WAL has offset 32 and size 0. */
export interface WalRange {
  /** Bytes; the WAL header is 32 bytes long, so real ranges start at 32 or later. */
  readonly offset: bigint;
  readonly size: bigint;
  readonly salt1: number;
  readonly salt2: number;
}

export const NO_WAL_RANGE: WalRange = { offset: 0n, size: 0n, salt1: 0, salt2: 0 };

export interface LtxHeader {
  readonly flags: number;
  /** Bytes a page. */
  readonly pageSize: number;
  /** Pages in the database after this file. */
  readonly commit: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly timestampMs: number;
  /** 0n when unknown. */
  readonly preApplyChecksum: Checksum;
  readonly wal: WalRange;
  readonly nodeId: bigint;
  /** CRC-64 XOR of the whole database after this file; 0n when the writer did not know it (Litestream never does). */
  readonly databaseChecksum: Checksum;
}

export interface LtxTrailer {
  readonly postApplyChecksum: Checksum;
  readonly fileChecksum: Checksum;
}

export function isSnapshot(header: { readonly minTxid: bigint }): boolean {
  return header.minTxid === 1n;
}

/** No page frame is longer, whatever wrote it: an incompressible page takes its own size and a little dressing. */
export function maxFrameBytes(pageSize: number): number {
  return 2 * pageSize + 64;
}

/** How many pages a complete image of `commit` pages stores: all but the lock page. */
export function imagePageCount(commit: number, pageSize: number): number {
  return commit >= lockPageNumber(pageSize) ? commit - 1 : commit;
}

export function encodeHeader(header: LtxHeader): Uint8Array {
  checkHeader(header);
  const bytes = Buffer.alloc(HEADER_SIZE);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(header.flags, 4);
  bytes.writeUInt32BE(header.pageSize, 8);
  bytes.writeUInt32BE(header.commit, 12);
  bytes.writeBigUInt64BE(header.minTxid, 16);
  bytes.writeBigUInt64BE(header.maxTxid, 24);
  bytes.writeBigInt64BE(BigInt(header.timestampMs), 32);
  bytes.writeBigUInt64BE(header.preApplyChecksum, 40);
  bytes.writeBigInt64BE(header.wal.offset, 48);
  bytes.writeBigInt64BE(header.wal.size, 56);
  bytes.writeUInt32BE(header.wal.salt1, 64);
  bytes.writeUInt32BE(header.wal.salt2, 68);
  bytes.writeBigUInt64BE(header.nodeId, 72);
  bytes.writeBigUInt64BE(header.databaseChecksum, 80);
  return bytes;
}

/** Reads and checks a header. Throws an LtxError that names the field that is wrong. */
export function decodeHeader(input: Uint8Array): LtxHeader {
  if (input.length < HEADER_SIZE) throw new LtxError('truncated', `header: ${input.length} of ${HEADER_SIZE} bytes`);
  const bytes = Buffer.from(input.buffer, input.byteOffset, HEADER_SIZE);
  if (bytes.readUInt32BE(0) !== MAGIC) throw new LtxError('not-ltx', 'magic: the first four bytes are not "LTX1"');
  const minTxid = bytes.readBigUInt64BE(16);
  const maxTxid = bytes.readBigUInt64BE(24);
  if (minTxid === 0n || maxTxid === 0n) throw new LtxError('header', 'TXID: 0 is not a TXID');
  const header: LtxHeader = {
    flags: bytes.readUInt32BE(4),
    pageSize: bytes.readUInt32BE(8),
    commit: bytes.readUInt32BE(12),
    minTxid: txid(minTxid),
    maxTxid: txid(maxTxid),
    timestampMs: Number(bytes.readBigInt64BE(32)),
    preApplyChecksum: checksum(bytes.readBigUInt64BE(40)),
    wal: {
      offset: bytes.readBigInt64BE(48),
      size: bytes.readBigInt64BE(56),
      salt1: bytes.readUInt32BE(64),
      salt2: bytes.readUInt32BE(68),
    },
    nodeId: bytes.readBigUInt64BE(72),
    databaseChecksum: checksum(bytes.readBigUInt64BE(80)),
  };
  checkHeader(header);
  return header;
}

function checkHeader(header: LtxHeader): void {
  const wrong = (what: string): never => {
    throw new LtxError('header', what);
  };
  if ((header.flags & ~FLAG_NO_CHECKSUM) !== 0) wrong(`flags: unknown bits in 0x${header.flags.toString(16)}`);
  if (!isPageSize(header.pageSize)) wrong(`page size: ${header.pageSize} is not a power of two from 512 to 65536`);
  if (header.minTxid > header.maxTxid) {
    wrong(`TXID: ${formatTxid(header.minTxid)} comes after ${formatTxid(header.maxTxid)}`);
  }
  if (!Number.isSafeInteger(header.timestampMs) || header.timestampMs < 0) wrong('timestamp: out of range');
  if (header.preApplyChecksum !== 0n) {
    if (isSnapshot(header) || header.flags & FLAG_NO_CHECKSUM) wrong('pre-apply checksum: must be zero here');
    if (!(header.preApplyChecksum & CHECKSUM_FLAG)) wrong('pre-apply checksum: top bit is not set');
  } else if (!isSnapshot(header) && !(header.flags & FLAG_NO_CHECKSUM)) {
    wrong('pre-apply checksum: missing');
  }
  const { wal } = header;
  if (wal.offset < 0n || wal.size < 0n) wrong('WAL offset or size: negative');
  if (wal.offset === 0n && wal.size !== 0n) wrong('WAL size: given without a WAL offset');
  if (wal.offset === 0n && (wal.salt1 !== 0 || wal.salt2 !== 0)) wrong('WAL salts: given without a WAL offset');
  if (header.databaseChecksum !== 0n && !(header.databaseChecksum & CHECKSUM_FLAG)) {
    wrong('database checksum: top bit is not set');
  }
}

export function encodeTrailer(trailer: LtxTrailer): Uint8Array {
  const bytes = Buffer.alloc(TRAILER_SIZE);
  bytes.writeBigUInt64BE(trailer.postApplyChecksum, 0);
  bytes.writeBigUInt64BE(trailer.fileChecksum, 8);
  return bytes;
}

/** Reads a trailer; `header` decides whether a post-apply checksum must be there. */
export function decodeTrailer(input: Uint8Array, header: Pick<LtxHeader, 'flags'>): LtxTrailer {
  if (input.length < TRAILER_SIZE) throw new LtxError('truncated', `trailer: ${input.length} of ${TRAILER_SIZE} bytes`);
  const bytes = Buffer.from(input.buffer, input.byteOffset, TRAILER_SIZE);
  const postApplyChecksum = checksum(bytes.readBigUInt64BE(0));
  const fileChecksum = checksum(bytes.readBigUInt64BE(8));
  const without = (header.flags & FLAG_NO_CHECKSUM) !== 0;
  if (without && postApplyChecksum !== 0n) throw new LtxError('trailer', 'post-apply checksum: must be zero here');
  if (!without && !(postApplyChecksum & CHECKSUM_FLAG)) {
    throw new LtxError('trailer', 'post-apply checksum: missing or without its top bit');
  }
  if (!(fileChecksum & CHECKSUM_FLAG)) throw new LtxError('trailer', 'file checksum: top bit is not set');
  return { postApplyChecksum, fileChecksum };
}

const FILE_NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

export function formatLtxName(minTxid: bigint, maxTxid: bigint): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
}

/** Reads a file name; undefined for anything that is not one, which listings skip. */
export function parseLtxName(name: string): { readonly minTxid: Txid; readonly maxTxid: Txid } | undefined {
  const match = FILE_NAME.exec(name);
  if (!match) return undefined;
  const min = BigInt(`0x${match[1]}`);
  const max = BigInt(`0x${match[2]}`);
  return min === 0n || max < min ? undefined : { minTxid: txid(min), maxTxid: txid(max) };
}
