import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { readFully, writeFully } from '../base/durable-file.ts';
import type { SpooledFile } from '../capture/l0-writer.ts';
import { asSnapshot, checksumOffset } from '../ltx/as-snapshot.ts';
import { LtxDecoder } from '../ltx/decoder.ts';
import { decodeHeader, HEADER_SIZE } from '../ltx/format.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import { locateIndex, readTrailer, TAIL_BYTES } from '../ltx/page-index.ts';
import { type KeyLayout, SNAPSHOT_LEVEL } from '../replica/layout.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { isStoreError, type Store } from '../store/store.ts';

const PIECE_BYTES = 1024 * 1024;
/** Pieces between two breaks in which signals and timers get their turn. */
const PIECES_AT_A_TIME = 8;
const SNAPSHOT_FILE = 'snapshot.tmp';

/**
 * True for a file that takes the place of everything before it, whose pages have another size. Litestream merges the files of
 * a plan, which it cannot do across that: it needs a snapshot of the same state to begin with.
 */
export function needsSnapshot(file: SpooledFile): boolean {
  return file.kind === 'image' && file.txid > 1n;
}

/** Whether a snapshot of this state, or of a later one, is stored. */
export function hasSnapshotSince(files: readonly LtxFileInfo[], txid: bigint): boolean {
  return files.some((file) => file.level === SNAPSHOT_LEVEL && file.minTxid === 1n && file.maxTxid >= txid);
}

/**
 * Stores the snapshot of a spooled image whose level 0 file is stored: by that the TXID is ours, and the state that it stands for.
 * The other way round, a writer who came first there would go on from another state than the snapshot holds.
 */
export async function storeSnapshot(
  store: Store,
  layout: KeyLayout,
  file: SpooledFile,
  signal?: AbortSignal,
): Promise<void> {
  const path = snapshotPathFor(dirname(dirname(file.path)));
  try {
    await makeSnapshot(file, path, signal);
    const key = layout.key(SNAPSHOT_LEVEL, 1n, file.txid);
    const body = { file: path, sizeBytes: file.sizeBytes };
    await store.put(key, body, { ifAbsent: true, timestampMs: file.timestampMs, signal });
  } catch (error) {
    // The answer to an earlier try was lost; or Litestream made one, of a state that is the same by its TXID.
    if (!isStoreError(error, 'exists')) throw error;
  } finally {
    fs.rmSync(path, { force: true });
  }
}

/** Removes what a process left that died while it stored a snapshot. */
export function removeLeftSnapshot(metaPath: string): void {
  fs.rmSync(snapshotPathFor(metaPath), { force: true });
}

/** Not in the spool: what the spool does not know is removed from there. */
function snapshotPathFor(metaPath: string): string {
  return join(metaPath, SNAPSHOT_FILE);
}

/** Writes a spooled image as a snapshot, and proves what it wrote. */
async function makeSnapshot(file: SpooledFile, path: string, signal: AbortSignal | undefined): Promise<void> {
  // Never written over: a file store may have linked an earlier one.
  fs.rmSync(path, { force: true });
  const from = fs.openSync(file.path, 'r');
  try {
    const to = fs.openSync(path, 'wx', 0o600);
    try {
      await copyAsSnapshot(from, to, file, signal);
    } finally {
      fs.closeSync(to);
    }
  } finally {
    fs.closeSync(from);
  }
}

async function copyAsSnapshot(
  from: number,
  to: number,
  { sizeBytes }: SpooledFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const changes = changesFor(from, sizeBytes);
  const buffer = Buffer.alloc(Math.min(PIECE_BYTES, sizeBytes));
  using decoder = new LtxDecoder();
  let isWhole = false;
  for (let at = 0, pieces = 1; at < sizeBytes; at += buffer.length, pieces++) {
    const piece = buffer.subarray(0, Math.min(buffer.length, sizeBytes - at));
    readFully(from, piece, at);
    for (const change of changes) overlay(piece, at, change);
    writeFully(to, piece, at);
    isWhole = decode(decoder, piece);
    if (pieces % PIECES_AT_A_TIME > 0) continue;
    await nextTurn();
    signal?.throwIfAborted();
  }
  if (!isWhole) throw new LtxError('truncated', 'the file ends early');
  await promisify(fs.fsync)(to); // what is handed to a store is durable
}

interface Change {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

function changesFor(fd: number, sizeBytes: number): Change[] {
  const head = new Uint8Array(HEADER_SIZE);
  readFully(fd, head, 0);
  const tail = new Uint8Array(TAIL_BYTES);
  readFully(fd, tail, sizeBytes - TAIL_BYTES);
  const trailer = readTrailer(tail, decodeHeader(head));
  const ends = asSnapshot(head, trailer, locateIndex(tail, sizeBytes).size);
  const sum = Buffer.alloc(8);
  sum.writeBigUInt64BE(ends.fileChecksum);
  return [
    { offset: 0, bytes: ends.head },
    { offset: checksumOffset(sizeBytes), bytes: sum },
  ];
}

/** Puts into a piece of a file what of a change lies in it. */
function overlay(piece: Uint8Array, at: number, { offset, bytes }: Change): void {
  const start = Math.max(offset, at);
  const end = Math.min(offset + bytes.length, at + piece.length);
  if (start < end) piece.set(bytes.subarray(start - offset, end - offset), start - at);
}

/** True at the end of a snapshot; throws where the bytes are not those of one. */
function decode(decoder: LtxDecoder, bytes: Uint8Array): boolean {
  for (let at = 0; ; ) {
    const { kind } = decoder.next();
    if (kind === 'pages') continue;
    if (kind === 'done' || at === bytes.length) return kind === 'done';
    const room = decoder.room();
    const part = bytes.subarray(at, at + room.length);
    room.set(part);
    decoder.advance(part.length);
    at += part.length;
  }
}
