declare const brand: unique symbol;

/** Transaction id: counts LTX files of one replica, from 1. */
export type Txid = bigint & { readonly [brand]: 'Txid' };
/** CRC-64 (ISO) with bit 63 set, as LTX stores checksums; 0n where unknown. */
export type Checksum = bigint & { readonly [brand]: 'Checksum' };
/** Page number, from 1. */
export type Pgno = number & { readonly [brand]: 'Pgno' };

const TXID_MAX = 0xffff_ffff_ffff_ffffn;

/** Brands a TXID; throws a RangeError outside 1 to 2^64-1. */
export function txid(value: bigint | number): Txid {
  const id = BigInt(value);
  if (id < 1n || id > TXID_MAX) throw new RangeError(`TXID out of range: ${id}`);
  return id as Txid; // the range was checked
}

/** Sixteen lowercase hex digits, as in LTX file names. */
export function formatTxid(id: bigint): string {
  return id.toString(16).padStart(16, '0');
}

/** Reads exactly sixteen hex digits; undefined for anything else. */
export function parseTxid(text: string): bigint | undefined {
  return /^[0-9a-f]{16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

export const CHECKSUM_FLAG = 1n << 63n;

/** Brands a 64-bit value as a checksum. Signed 64-bit input (as WebAssembly returns it) is made unsigned. */
export function checksum(value: bigint): Checksum {
  return BigInt.asUintN(64, value) as Checksum; // any 64-bit value is one
}

/** Brands a page number; throws a RangeError outside 1 to 2^32-2, SQLite's range. */
export function pgno(value: number): Pgno {
  if (!Number.isInteger(value) || value < 1 || value > 0xffff_fffe)
    throw new RangeError(`page number out of range: ${value}`);
  return value as Pgno; // the range was checked
}
