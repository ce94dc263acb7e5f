import { endianness } from 'node:os';
import type { Salts, WalSums } from './wal.ts';
import { walChecksum } from './wal.ts';

/*
 * The start of the WAL-index ("-shm"), in the machine's own byte order:
 *
 * | offset  | bytes | meaning                                                                            |
 * | ------- | ----- | ---------------------------------------------------------------------------------- |
 * | 0       | 48    | header: version, 0, change counter (u32 each), initialized u8, big-endian          |
 * |         |       | checksums u8, page size u16 (1 = 65536), mxFrame, nPage, checksum of frame mxFrame |
 * |         |       | (2 u32), salts (8 bytes as in the WAL), checksum of the 40 bytes before (2 u32)    |
 * | 48      | 48    | the same again: written first, read second, so a torn header shows                 |
 * | 96      | 4     | nBackfill: frames that are in the database file already                            |
 * | 100     | 20    | read marks                                                                         |
 */

export const WAL_INDEX_HEAD_SIZE = 100;
const HEADER_SIZE = 48;
const LITTLE = endianness() === 'LE';

/** What the WAL-index says about the WAL at one moment. */
export interface WalIndexHead {
  /** Valid, committed frames in the WAL. */
  readonly mxFrame: number;
  /** Database size in pages; meaningful only while `mxFrame` is above 0. */
  readonly pageCount: number;
  readonly salts: Salts;
  /** Checksum of frame `mxFrame`. */
  readonly sums: WalSums;
  /** Frames that have been copied into the database file. */
  readonly backfilled: number;
  /** Grows with every commit; equal counters and salts mean an equal header. */
  readonly change: number;
}

/** Reads the WAL-index head; undefined while it is being written (read it again) or was never initialized. */
export function readWalIndexHead(bytes: Buffer): WalIndexHead | undefined {
  if (bytes.length < WAL_INDEX_HEAD_SIZE) return undefined;
  if (bytes.compare(bytes, HEADER_SIZE, 2 * HEADER_SIZE, 0, HEADER_SIZE) !== 0 || bytes[12] === 0) return undefined;
  const sums = walChecksum(bytes.subarray(0, 40), !LITTLE);
  if (sums.first !== u32(bytes, 40) || sums.second !== u32(bytes, 44)) return undefined;
  return {
    mxFrame: u32(bytes, 16),
    pageCount: u32(bytes, 20),
    sums: { first: u32(bytes, 24), second: u32(bytes, 28) },
    salts: Uint8Array.from(bytes.subarray(32, 40)),
    backfilled: u32(bytes, 96),
    change: u32(bytes, 8),
  };
}

/** The part of a head that says what there is to do. */
export type WalIndexGlance = Pick<WalIndexHead, 'mxFrame' | 'salts' | 'backfilled' | 'change'>;

/** A head without proof, read again and again and at little cost: it may be torn, and says no more than whether to look. */
export class UnprovenHead implements WalIndexGlance {
  /** To be read into. */
  readonly bytes = new Uint8Array(WAL_INDEX_HEAD_SIZE);
  readonly salts = this.bytes.subarray(32, 40);
  readonly #words = new Uint32Array(this.bytes.buffer);

  get change(): number {
    return this.#words[2] ?? 0;
  }

  get mxFrame(): number {
    return this.#words[4] ?? 0;
  }

  get backfilled(): number {
    return this.#words[24] ?? 0;
  }
}

function u32(bytes: Buffer, offset: number): number {
  return LITTLE ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
}

/** True when both heads describe the same commit of the same WAL generation. */
export function sameCommit(a: WalIndexHead, b: WalIndexHead): boolean {
  return a.mxFrame === b.mxFrame && a.change === b.change && Buffer.compare(a.salts, b.salts) === 0;
}
