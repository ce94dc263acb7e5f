import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fsyncFolder, makeFolders, readFully, writeFileDurably, writeFully } from '../base/durable-file.ts';
import { assert, hasCode } from '../base/errors.ts';
import { type Checksum, checksum, type Txid, txid } from '../base/types.ts';
import { crcOf } from '../ltx/encoder.ts';
import { parseLtxName } from '../ltx/format.ts';
import type { WalSums } from '../sqlite/wal.ts';
import { type HashChanges, PageHashes } from './page-hashes.ts';

/*
 * What Rivulet keeps beside a database, in `<dir>/.<file>-rivulet/`:
 *
 *   state     a whole picture: {length u32, JSON, page hashes 8 bytes each, CRC-64 of all before}
 *   journal   what came after it, one record per L0 file, or for a new place in the WAL: {length u32, body, CRC-64 of the CRC-64
 *             before (at first that of the state) and the body}; body = {length u32, JSON position, then {page number u32, hash u64} each}
 *   spool/    L0 files that are not stored yet, and the newest stored one
 *
 * Integers are little-endian. A torn end of the journal is ignored, and a journal that belongs to another state: the state is then merely
 * older than the replica, which is noticed by TXID and file checksum.
 */

const FORMAT = 1;
const STATE_FILE = 'state';
const JOURNAL_FILE = 'journal';
const SPOOL_FOLDER = 'spool';
const ENTRY_BYTES = 12;
const NO_CHANGES: HashChanges = { pgnos: new Uint32Array(), hashes: new BigUint64Array() };
/** What changed in one record of the journal, at most; more is written as a whole state. */
const MAX_CHANGES_BYTES = 3 * 1024 * 1024;
/** A record with its position. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;
/** The state is read in pieces of this size. */
const PIECE_BYTES = 64 * 1024;
/** A journal is folded into the state file when it is larger than this and than the page-hash table. */
const JOURNAL_FOLD_BYTES = 256 * 1024;

/** Where Rivulet keeps its own files for a database: `<dir>/.<file>-rivulet`. */
export function metaPathFor(databasePath: string): string {
  return join(dirname(databasePath), `.${basename(databasePath)}-rivulet`);
}

export function spoolPathFor(metaPath: string): string {
  return join(metaPath, SPOOL_FOLDER);
}

/** How far into which generation of the WAL the replica has the database. */
export interface WalPosition {
  /** The generation's eight salt bytes, in hex. */
  readonly salts: string;
  /** Frames captured. */
  readonly frames: number;
  /** Checksum of the last frame captured. */
  readonly sums: WalSums;
  /** The database file that it belongs to (its inode and when it was made). */
  readonly file: string;
  /** What was in that file, by name; undefined where that could not be told. */
  readonly version?: string | undefined;
  /** All that was captured was in that file: whatever the WAL holds while it is unchanged came after. */
  readonly isWhole?: boolean | undefined;
  /** Since when the machine runs, by name; undefined in a state of an earlier version. */
  readonly boot?: string | undefined;
}

/** What the page hashes stand on. */
export interface LocalPosition {
  /** The replica they belong to. */
  readonly replicaUrl: string;
  /** Undefined for a replica without an identity object. */
  readonly lineage: string | undefined;
  /** The newest L0 file, or the one that a restore ended at. */
  readonly txid: Txid;
  /** That file's checksum; 0n when it is not known. */
  readonly fileChecksum: Checksum;
  /** Bytes a page. */
  readonly pageSize: number;
  readonly pageCount: number;
  /**
   * The newest image after TXID 1. It took the place of all files before it, whose pages are of another size; Litestream can
   * restore what comes from there on once a snapshot of it, or of a later state, is stored.
   */
  readonly imageTxid: Txid | undefined;
  /** Undefined when there is nothing to continue from, as after a restore: compare every page once. */
  readonly wal: WalPosition | undefined;
}

export interface LocalState {
  readonly position: LocalPosition;
  readonly hashes: PageHashes;
}

interface PositionJson {
  readonly format: number;
  readonly replicaUrl: string;
  readonly lineage?: string | undefined;
  readonly txid: string;
  readonly fileChecksum: string;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly imageTxid?: string | undefined;
  readonly wal?: WalPosition | undefined;
}

function toJson(position: LocalPosition): Buffer {
  const json: PositionJson = {
    format: FORMAT,
    replicaUrl: position.replicaUrl,
    lineage: position.lineage,
    txid: position.txid.toString(16),
    fileChecksum: position.fileChecksum.toString(16),
    pageSize: position.pageSize,
    pageCount: position.pageCount,
    imageTxid: position.imageTxid?.toString(16),
    wal: position.wal,
  };
  return Buffer.from(JSON.stringify(json));
}

function fromJson(bytes: Buffer): LocalPosition | undefined {
  const json = JSON.parse(bytes.toString()) as PositionJson; // the CRC before it proved that we wrote it
  if (json.format !== FORMAT) return undefined;
  return {
    replicaUrl: json.replicaUrl,
    lineage: json.lineage,
    txid: txid(BigInt(`0x${json.txid}`)),
    fileChecksum: checksum(BigInt(`0x${json.fileChecksum}`)),
    pageSize: json.pageSize,
    pageCount: json.pageCount,
    imageTxid: json.imageTxid === undefined ? undefined : txid(BigInt(`0x${json.imageTxid}`)),
    wal: json.wal,
  };
}

/** Reads the state of a database; undefined when there is none, or none that can be trusted. Dispose of its hashes. */
export function loadLocalState(metaPath: string): LocalState | undefined {
  const hashes = new PageHashes(metaPath);
  const position = readState(metaPath, hashes);
  if (position) return { position, hashes };
  hashes[Symbol.dispose]();
  return undefined;
}

/** Reads the position of {@link loadLocalState} alone; everything is checked all the same. */
export function loadLocalPosition(metaPath: string): LocalPosition | undefined {
  return readState(metaPath, undefined);
}

/** Reads state and journal, piece by piece, and fills `hashes` when they are wanted. */
function readState(metaPath: string, hashes: PageHashes | undefined): LocalPosition | undefined {
  const base = readFileIfThere(join(metaPath, STATE_FILE), (fd, sizeBytes) => readBase(fd, sizeBytes, hashes));
  if (!base) return undefined;
  const journal = join(metaPath, JOURNAL_FILE);
  return readFileIfThere(journal, (fd, sizeBytes) => replay(fd, sizeBytes, base, hashes)) ?? base.position;
}

function readFileIfThere<T>(path: string, read: (fd: number, sizeBytes: number) => T): T | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  try {
    return read(fd, fs.fstatSync(fd).size);
  } finally {
    fs.closeSync(fd);
  }
}

/** A whole state, and its CRC-64. */
interface Base {
  readonly position: LocalPosition;
  readonly sum: bigint;
}

function readBase(fd: number, sizeBytes: number, hashes: PageHashes | undefined): Base | undefined {
  const length = Buffer.alloc(4);
  if (readFully(fd, length, 0) < length.length) return undefined;
  const jsonEnd = 4 + length.readUInt32LE(0);
  if (jsonEnd + 8 > sizeBytes || jsonEnd > MAX_RECORD_BYTES) return undefined;
  const json = Buffer.alloc(jsonEnd - 4);
  readFully(fd, json, 4);
  let sum = crcOf(crcOf(0n, length), json);
  const piece = Buffer.alloc(PIECE_BYTES);
  const end = sizeBytes - 8;
  // Filled before it is proven: what is not proven is never handed out.
  hashes?.resize(Math.floor((end - jsonEnd) / 8));
  for (let at = jsonEnd; at < end; ) {
    const bytes = piece.subarray(0, Math.min(PIECE_BYTES, end - at));
    if (readFully(fd, bytes, at) < bytes.length) return undefined;
    sum = crcOf(sum, bytes);
    if (hashes) noteBytes(hashes, 1 + (at - jsonEnd) / 8, bytes);
    at += bytes.length;
  }
  const stored = Buffer.alloc(8);
  if (readFully(fd, stored, end) < stored.length || stored.readBigUInt64LE() !== sum) return undefined;
  const position = fromJson(json);
  return position && end - jsonEnd === position.pageCount * 8 ? { position, sum } : undefined;
}

function noteBytes(hashes: PageHashes, first: number, bytes: Buffer): void {
  const values = new BigUint64Array(Math.floor(bytes.length / 8));
  for (let i = 0; i < values.length; i++) values[i] = bytes.readBigUInt64LE(i * 8);
  let xor = 0n;
  for (const value of values) xor ^= value;
  hashes.setNew(first, values, xor);
}

function replay(fd: number, sizeBytes: number, base: Base, hashes: PageHashes | undefined): LocalPosition {
  let { position, sum } = base;
  const length = Buffer.alloc(4);
  for (let at = 0; readFully(fd, length, at) === 4; ) {
    const bodyBytes = length.readUInt32LE(0);
    if (bodyBytes < 4 || bodyBytes > MAX_RECORD_BYTES || at + 4 + bodyBytes + 8 > sizeBytes) break;
    const record = Buffer.alloc(bodyBytes + 8);
    if (readFully(fd, record, at + 4) < record.length) break;
    at += 4 + record.length;
    const body = record.subarray(0, bodyBytes);
    sum = crcOf(sum, body);
    if (sum !== record.readBigUInt64LE(bodyBytes)) break;
    const jsonEnd = 4 + body.readUInt32LE(0);
    const next = fromJson(body.subarray(4, jsonEnd));
    if (!next) break;
    assert(next.txid === position.txid || next.txid === position.txid + 1n, 'a record follows the one before');
    hashes?.resize(next.pageCount);
    for (let i = jsonEnd; hashes && i < body.length; i += ENTRY_BYTES) {
      hashes.set(body.readUInt32LE(i), body.readBigUInt64LE(i + 4));
    }
    position = next;
  }
  return position;
}

/** With this, and the length before it, a state begins. */
const STATE_BEGINS = '{"format":';

/** False for a file that was never a state of ours; damage further on does not count, nor that it is cut. */
export function looksLikeState(path: string): boolean {
  const beginning = readFileIfThere(path, (fd) => {
    const bytes = Buffer.alloc(4 + STATE_BEGINS.length);
    return bytes.toString('latin1', 4, Math.max(readFully(fd, bytes, 0), 4));
  });
  return STATE_BEGINS.startsWith(beginning ?? '');
}

/** Writes a whole state; what the journal held is part of it. Returns its CRC-64. */
export function saveState(metaPath: string, position: LocalPosition, hashes: PageHashes): bigint {
  makeFolders(metaPath, 0o700);
  let sum = 0n;
  writeFileDurably(
    join(metaPath, STATE_FILE),
    statePieces(position, hashes, (final) => {
      sum = final;
    }),
  );
  fs.rmSync(join(metaPath, JOURNAL_FILE), { force: true });
  return sum;
}

function* statePieces(
  position: LocalPosition,
  hashes: PageHashes,
  onSum: (sum: bigint) => void,
): Generator<Uint8Array> {
  const json = toJson(position);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  let sum = crcOf(crcOf(0n, length), json);
  yield length;
  yield json;
  for (const { buffer, byteOffset, byteLength } of hashes.pieces()) {
    const piece = new Uint8Array(buffer, byteOffset, byteLength);
    sum = crcOf(sum, piece);
    yield piece;
  }
  const stored = Buffer.alloc(8);
  stored.writeBigUInt64LE(sum);
  onSum(sum);
  yield stored;
}

/** Forgets the state: the next start compares with the replica itself. */
export function dropState(metaPath: string): void {
  fs.rmSync(join(metaPath, STATE_FILE), { force: true });
  fs.rmSync(join(metaPath, JOURNAL_FILE), { force: true });
}

/**
 * Has the next start compare the database with the replica itself: what is stored there may not be what we stored. Whose
 * history it is stays known.
 */
export function distrustState(metaPath: string): void {
  const state = loadLocalState(metaPath);
  if (!state) return;
  using hashes = state.hashes;
  saveState(metaPath, { ...state.position, fileChecksum: checksum(0n), wal: undefined }, hashes);
}

/**
 * Moves a spool that holds files newer than `stored` (what the replica has), or another file of that TXID, to a name of its own, and
 * returns that: such files can be all there is of their commits. Undefined: it holds none.
 */
export function setSpoolAside(
  metaPath: string,
  stored: { readonly txid: bigint; readonly fileChecksum: Checksum },
): string | undefined {
  const spool = spoolPathFor(metaPath);
  if (!fs.existsSync(spool)) return undefined;
  const isUnstored = (name: string): boolean => {
    const maxTxid = parseLtxName(name)?.maxTxid ?? 0n;
    if (maxTxid !== stored.txid) return maxTxid > stored.txid;
    return maxTxid > 0n && fileChecksumOf(join(spool, name)) !== stored.fileChecksum;
  };
  if (!fs.readdirSync(spool).some(isUnstored)) return undefined;
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  for (let n = 1; ; n++) {
    const aside = join(metaPath, `unstored-${stamp}${n > 1 ? `-${n}` : ''}`);
    if (fs.existsSync(aside)) continue;
    fs.renameSync(spool, aside);
    fsyncFolder(metaPath);
    return aside;
  }
}

/** What an LTX file says of itself at its end; undefined where it is cut. */
function fileChecksumOf(path: string): Checksum | undefined {
  return readFileIfThere(path, (fd, sizeBytes) => {
    const bytes = Buffer.alloc(8);
    return readFully(fd, bytes, Math.max(sizeBytes - 8, 0)) === 8 ? checksum(bytes.readBigUInt64BE()) : undefined;
  });
}

/** Writes the state that a restored database starts from, and drops what an earlier database left in its place. */
export function saveRestoredState(metaPath: string, position: LocalPosition, hashes: PageHashes): void {
  // First of all: records of an earlier life must never be replayed onto the new state.
  dropState(metaPath);
  fs.rmSync(spoolPathFor(metaPath), { recursive: true, force: true });
  saveState(metaPath, position, hashes);
}

/** Appends to the journal beside a state, and folds it into the state when it has grown. */
export class StateJournal {
  readonly #metaPath: string;
  #fd: number | undefined;
  #sizeBytes = 0;
  /** A journal only ever follows a state that this process wrote. */
  #folded = false;
  /** CRC-64 of all that is written. */
  #sum = 0n;

  constructor(metaPath: string) {
    this.#metaPath = metaPath;
  }

  /** Records that `position` is reached, with the pages that changed since the one before. Durable on return. */
  append(position: LocalPosition, changes: HashChanges, hashes: PageHashes): void {
    const added = changes.pgnos.length * ENTRY_BYTES;
    const isLarge =
      added > MAX_CHANGES_BYTES || this.#sizeBytes + added > Math.max(JOURNAL_FOLD_BYTES, hashes.pageCount * 8);
    if (!this.#folded || isLarge) {
      this.fold(position, hashes);
      return;
    }
    this.#write(position, changes, (fd) => fs.fdatasyncSync(fd));
  }

  /** Records another place in the WAL for the newest position. A power loss may take it: after a boot no place is of use. */
  note(position: LocalPosition, hashes: PageHashes): void {
    if (this.#folded) this.#write(position, NO_CHANGES);
    else this.fold(position, hashes);
  }

  #write(position: LocalPosition, changes: HashChanges, sync: (fd: number) => void = () => undefined): void {
    this.#folded = false; // until the record is whole: after a failure, the next one is a whole state
    const body = encodeBody(position, changes);
    const sum = crcOf(this.#sum, body);
    const record = Buffer.alloc(4 + body.length + 8);
    record.writeUInt32LE(body.length);
    body.copy(record, 4);
    record.writeBigUInt64LE(sum, 4 + body.length);
    const fd = this.#open();
    writeFully(fd, record, this.#sizeBytes);
    sync(fd);
    this.#sizeBytes += record.length;
    this.#sum = sum;
    this.#folded = true;
  }

  /** Writes the whole state instead of a record. */
  fold(position: LocalPosition, hashes: PageHashes): void {
    this.close();
    this.#folded = false;
    this.#sum = saveState(this.#metaPath, position, hashes);
    this.#folded = true;
  }

  /** What comes next does not follow the newest record, which is never to be replayed again: it will be a whole state. */
  interrupt(): void {
    this.close();
    this.#folded = false;
    fs.rmSync(join(this.#metaPath, JOURNAL_FILE), { force: true });
  }

  close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
    this.#sizeBytes = 0;
  }

  #open(): number {
    if (this.#fd === undefined) {
      this.#fd = fs.openSync(join(this.#metaPath, JOURNAL_FILE), 'w', 0o600);
      this.#sizeBytes = 0;
      // A fold removed the name, or there was none: without this a power loss would take the file, and its records with it.
      fsyncFolder(this.#metaPath);
    }
    return this.#fd;
  }
}

function encodeBody(position: LocalPosition, changes: HashChanges): Buffer {
  const json = toJson(position);
  const body = Buffer.alloc(4 + json.length + changes.pgnos.length * ENTRY_BYTES);
  body.writeUInt32LE(json.length);
  json.copy(body, 4);
  let at = 4 + json.length;
  for (const [i, pgno] of changes.pgnos.entries()) {
    body.writeUInt32LE(pgno, at);
    body.writeBigUInt64LE(changes.hashes[i] ?? 0n, at + 4);
    at += ENTRY_BYTES;
  }
  return body;
}
