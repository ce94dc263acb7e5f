import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { writeFileDurably, writeFully } from '../base/durable-file.ts';
import { hasCode } from '../base/errors.ts';
import { type Checksum, checksum, type Txid, txid } from '../base/types.ts';
import { crcOf } from '../ltx/encoder.ts';
import type { WalSums } from '../sqlite/wal.ts';
import { type HashChanges, PageHashes } from './page-hashes.ts';

/*
 * What Rivulet keeps beside a database, in `<dir>/.<file>-rivulet/`:
 *
 *   state     a whole picture: {length u32, JSON, page hashes 8 bytes each, CRC-64 of all before}
 *   journal   what came after it, one record per L0 file: {length u32, body, CRC-64 of the body};
 *             body = {length u32, JSON position, then {page number u32, hash u64} each}
 *   spool/    L0 files that are not stored yet, and the newest stored one
 *
 * Integers are little-endian. A torn or stale end of the journal is ignored: the state is then merely older than the
 * replica, which is noticed by TXID and file checksum.
 */

const FORMAT = 1;
const STATE_FILE = 'state';
const JOURNAL_FILE = 'journal';
const SPOOL_FOLDER = 'spool';
const ENTRY_BYTES = 12;
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
    wal: json.wal,
  };
}

/** Reads the state of a database; undefined when there is none, or none that can be trusted. */
export function loadLocalState(metaPath: string): LocalState | undefined {
  const bytes = readIfThere(join(metaPath, STATE_FILE));
  const base = bytes && decodeState(bytes);
  if (!base) return undefined;
  const journal = readIfThere(join(metaPath, JOURNAL_FILE));
  return journal ? replay(base, journal) : base;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function decodeState(bytes: Buffer): LocalState | undefined {
  if (bytes.length < 12) return undefined;
  const body = bytes.subarray(0, bytes.length - 8);
  if (crcOf(0n, body) !== bytes.readBigUInt64LE(body.length)) return undefined;
  const jsonEnd = 4 + body.readUInt32LE(0);
  const position = fromJson(body.subarray(4, jsonEnd));
  if (!position || body.length !== jsonEnd + position.pageCount * 8) return undefined;
  const memory = new SharedArrayBuffer(Math.max(position.pageCount, 1) * 8);
  new Uint8Array(memory).set(body.subarray(jsonEnd));
  return { position, hashes: new PageHashes(position.pageCount, memory) };
}

function replay(base: LocalState, journal: Buffer): LocalState {
  let { position } = base;
  const { hashes } = base;
  for (let at = 0; at + 12 <= journal.length; ) {
    const length = journal.readUInt32LE(at);
    const end = at + 4 + length;
    if (end + 8 > journal.length) break;
    const body = journal.subarray(at + 4, end);
    if (crcOf(0n, body) !== journal.readBigUInt64LE(end)) break;
    const jsonEnd = 4 + body.readUInt32LE(0);
    const next = fromJson(body.subarray(4, jsonEnd));
    at = end + 8;
    if (!next) break;
    if (next.txid <= base.position.txid) continue;
    if (next.txid !== position.txid + 1n) break;
    hashes.resize(next.pageCount);
    for (let i = jsonEnd; i < body.length; i += ENTRY_BYTES) {
      hashes.set(body.readUInt32LE(i), body.readBigUInt64LE(i + 4));
    }
    position = next;
  }
  return { position, hashes };
}

/** Writes a whole state; what the journal held is part of it. */
export function saveState(metaPath: string, position: LocalPosition, hashes: PageHashes): void {
  fs.mkdirSync(metaPath, { recursive: true, mode: 0o700 });
  const json = toJson(position);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const { values } = hashes;
  const table = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const sum = Buffer.alloc(8);
  sum.writeBigUInt64LE(crcOf(crcOf(crcOf(0n, length), json), table));
  writeFileDurably(join(metaPath, STATE_FILE), Buffer.concat([length, json, table, sum]));
  fs.rmSync(join(metaPath, JOURNAL_FILE), { force: true });
}

/** Forgets the state: the next start compares with the replica itself. */
export function dropState(metaPath: string): void {
  fs.rmSync(join(metaPath, STATE_FILE), { force: true });
  fs.rmSync(join(metaPath, JOURNAL_FILE), { force: true });
}

/** What a restore leaves, so that replication carries on from there without uploading the database again. */
export interface RestoredState {
  readonly replicaUrl: string;
  readonly lineage: string | undefined;
  readonly txid: Txid;
  /** The checksum of the newest L0 file, when the restore ended at it; 0n otherwise. */
  readonly fileChecksum: Checksum;
  readonly pageSize: number;
  readonly pageCount: number;
  /** Hash of page i + 1 at index i. */
  readonly pageHashes: BigUint64Array;
}

/** Writes the state that a restored database starts from, and drops what an earlier database left in its place. */
export function saveRestoredState(metaPath: string, state: RestoredState): void {
  // First of all: records of an earlier life must never be replayed onto the new state.
  dropState(metaPath);
  fs.rmSync(spoolPathFor(metaPath), { recursive: true, force: true });
  const { pageHashes, ...position } = state;
  const hashes = new PageHashes();
  hashes.resize(state.pageCount);
  for (let i = 0; i < state.pageCount; i++) hashes.set(i + 1, pageHashes[i] ?? 0n);
  saveState(metaPath, { ...position, wal: undefined }, hashes);
}

/** Appends to the journal beside a state, and folds it into the state when it has grown. */
export class StateJournal {
  readonly #metaPath: string;
  #fd: number | undefined;
  #sizeBytes = 0;
  /** A journal only ever follows a state that this process wrote. */
  #folded = false;

  constructor(metaPath: string) {
    this.#metaPath = metaPath;
  }

  /** Records that `position` is reached, with the pages that changed since the one before. Durable on return. */
  append(position: LocalPosition, changes: HashChanges, hashes: PageHashes): void {
    const grown = this.#sizeBytes + changes.pgnos.length * ENTRY_BYTES;
    if (!this.#folded || grown > Math.max(JOURNAL_FOLD_BYTES, hashes.pageCount * 8)) {
      this.fold(position, hashes);
      return;
    }
    this.#folded = false; // until the record is whole: after a failure, the next one is a whole state
    const record = encodeRecord(position, changes);
    const fd = this.#open();
    writeFully(fd, record, this.#sizeBytes);
    fs.fdatasyncSync(fd);
    this.#sizeBytes += record.length;
    this.#folded = true;
  }

  /** Writes the whole state instead of a record. */
  fold(position: LocalPosition, hashes: PageHashes): void {
    this.close();
    saveState(this.#metaPath, position, hashes);
    this.#folded = true;
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
    }
    return this.#fd;
  }
}

function encodeRecord(position: LocalPosition, changes: HashChanges): Buffer {
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
  const record = Buffer.alloc(4 + body.length + 8);
  record.writeUInt32LE(body.length);
  body.copy(record, 4);
  record.writeBigUInt64LE(crcOf(0n, body), 4 + body.length);
  return record;
}
