import { RivuletError } from '../base/errors.ts';
import { isPageSize } from './lock-page.ts';

/*
 * The write-ahead log ("-wal"), big-endian:
 *
 * Header (32 bytes):
 * | offset | bytes | meaning                                                                     |
 * | ------ | ----- | --------------------------------------------------------------------------- |
 * | 0      | 4     | magic 0x377f0682; the last bit set (0x377f0683): big-endian checksums       |
 * | 4      | 4     | format version 3007000                                                      |
 * | 8      | 4     | page size                                                                   |
 * | 12     | 4     | checkpoint sequence number                                                  |
 * | 16, 20 | 4 + 4 | salts: change whenever the WAL is restarted                                 |
 * | 24, 28 | 4 + 4 | checksum of the first 24 bytes: the seed of the frames' chain               |
 *
 * Frame: {page number, database size in pages for a commit or 0, salts, checksum: u32 each}, then the page.
 */

export const WAL_HEADER_SIZE = 32;
export const WAL_FRAME_HEADER_SIZE = 24;
const MAGIC = 0x377f_0682;
const VERSION = 3_007_000;

/** The eight salt bytes as they stand in the files: they tell one generation of the WAL from the next. */
export type Salts = Uint8Array;

export function saltsEqual(a: Salts, b: Salts): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The running checksum of the WAL after some frame. */
export interface WalSums {
  readonly first: number;
  readonly second: number;
}

export interface WalHeader {
  readonly bigEndianChecksums: boolean;
  /** Bytes a page. */
  readonly pageSize: number;
  readonly salts: Salts;
  /** Where the frames' checksum chain starts. */
  readonly sums: WalSums;
}

/** Bytes of one frame: header and page. */
export function frameSize(pageSize: number): number {
  return WAL_FRAME_HEADER_SIZE + pageSize;
}

/** Where frame `index` (from 0) starts in the file. */
export function frameOffset(index: number, pageSize: number): number {
  return WAL_HEADER_SIZE + index * frameSize(pageSize);
}

/** Reads and proves a WAL header; undefined when it is short, foreign or torn. */
export function readWalHeader(bytes: Uint8Array): WalHeader | undefined {
  if (bytes.length < WAL_HEADER_SIZE) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, WAL_HEADER_SIZE);
  const magic = view.readUInt32BE(0);
  const pageSize = view.readUInt32BE(8);
  if ((magic & ~1) >>> 0 !== MAGIC || !isPageSize(pageSize)) return undefined;
  if (view.readUInt32BE(4) !== VERSION) {
    throw new RivuletError({ code: 'WAL_VERSION', message: `unknown WAL format version ${view.readUInt32BE(4)}` });
  }
  const bigEndianChecksums = (magic & 1) === 1;
  const sums = walChecksum(view.subarray(0, 24), bigEndianChecksums);
  if (sums.first !== view.readUInt32BE(24) || sums.second !== view.readUInt32BE(28)) return undefined;
  return { bigEndianChecksums, pageSize, salts: Uint8Array.from(view.subarray(16, 24)), sums };
}

/** SQLite's WAL checksum over a few bytes (a multiple of 8). Pages go through the kernels. */
export function walChecksum(bytes: Buffer, bigEndian: boolean): WalSums {
  let first = 0;
  let second = 0;
  for (let at = 0; at < bytes.length; at += 8) {
    const x = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const y = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    first = (first + x + second) >>> 0;
    second = (second + y + first) >>> 0;
  }
  return { first, second };
}
