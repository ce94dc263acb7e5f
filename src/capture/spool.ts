import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fsyncFolder, makeFolders, readFully } from '../base/durable-file.ts';
import { decodeHeader, HEADER_SIZE, type LtxHeader, parseLtxName } from '../ltx/format.ts';
import { IndexStream } from '../ltx/index-stream.ts';
import { locateIndex, TAIL_BYTES } from '../ltx/page-index.ts';

/** The index of a file is read in pieces of this size. */
const PIECE_BYTES = 64 * 1024;

/** Removes a file from the spool. */
export function removeSpooled(path: string): void {
  fs.rmSync(path, { force: true });
}

/** A file that lies in the spool. */
export interface InSpool {
  readonly txid: bigint;
  readonly path: string;
  readonly sizeBytes: number;
}

/**
 * Makes the spool ready for a capture that stands on `newest`: its folder exists, and nothing in it is newer. Returns
 * what is in it, oldest first.
 */
export function prepareSpool(spoolPath: string, newest: bigint): InSpool[] {
  makeFolders(spoolPath, 0o700);
  // Whoever made them may have died before they were durable.
  const metaPath = dirname(spoolPath);
  fsyncFolder(metaPath);
  fsyncFolder(dirname(metaPath));
  const kept: InSpool[] = [];
  for (const name of fs.readdirSync(spoolPath).sort()) {
    const path = join(spoolPath, name);
    const parsed = parseLtxName(name);
    // What is newer than the state was never told to anyone: the capture died while it was being made.
    if (parsed && parsed.maxTxid <= newest) {
      kept.push({ txid: parsed.maxTxid, path, sizeBytes: fs.statSync(path).size });
    } else fs.rmSync(path, { recursive: true, force: true });
  }
  return kept;
}

/**
 * Tells of every page in a spooled file, by its page index alone: pages are not read. Returns the file's header; throws LtxError where
 * header or index do not hold.
 */
export function visitPages(path: string, visit: (pgno: number) => void): LtxHeader {
  const fd = fs.openSync(path, 'r');
  try {
    const head = new Uint8Array(HEADER_SIZE);
    const header = decodeHeader(head.subarray(0, readFully(fd, head, 0)));
    const sizeBytes = fs.fstatSync(fd).size;
    const tail = new Uint8Array(TAIL_BYTES);
    const tailBytes = readFully(fd, tail, Math.max(sizeBytes - TAIL_BYTES, 0));
    const location = locateIndex(tail.subarray(0, tailBytes), sizeBytes);
    const index = new IndexStream(location, header, visit);
    const piece = new Uint8Array(Math.min(PIECE_BYTES, location.size));
    for (let at = 0; at < location.size; at += piece.length) {
      const bytes = piece.subarray(0, Math.min(piece.length, location.size - at));
      index.push(bytes.subarray(0, readFully(fd, bytes, location.offset + at)));
    }
    index.end();
    return header;
  } finally {
    fs.closeSync(fd);
  }
}
