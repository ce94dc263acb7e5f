import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fsyncFolder, writeFully } from '../base/durable-file.ts';
import { type Checksum, checksum, type Txid } from '../base/types.ts';
import { LtxEncoder } from '../ltx/encoder.ts';
import { FLAG_NO_CHECKSUM, formatLtxName, HEADER_SIZE, parseLtxName, type WalRange } from '../ltx/format.ts';
import type { PageBatch } from '../ltx/page-batch.ts';

/** What an L0 file was made from: a range of the WAL, a comparison with what the replica has, or the whole database. */
export type L0Kind = 'increment' | 'diff' | 'image';

/** An L0 file in the spool: whole and durable on this machine, not yet in the store. */
export interface SpooledFile {
  readonly kind: L0Kind;
  readonly txid: Txid;
  readonly path: string;
  readonly sizeBytes: number;
  readonly fileChecksum: Checksum;
  /** When it was captured, ms since 1970. */
  readonly timestampMs: number;
  /** Pages it holds. */
  readonly pageCount: number;
}

export interface L0Fields {
  readonly kind: L0Kind;
  readonly txid: Txid;
  /** Bytes a page. */
  readonly pageSize: number;
  /** Pages in the database after it. */
  readonly commit: number;
  readonly wal: WalRange;
}

/** Writes one L0 file into the spool. Either {@link finish} makes it appear whole, or nothing of it stays. */
export class L0Writer {
  readonly #fields: L0Fields;
  readonly #path: string;
  readonly #staged: string;
  readonly #encoder: LtxEncoder;
  readonly #fd: number;
  #offset = HEADER_SIZE;
  #open = true;

  constructor(spoolPath: string, fields: L0Fields) {
    this.#fields = fields;
    this.#path = join(spoolPath, formatLtxName(fields.txid, fields.txid));
    this.#staged = `${this.#path}.tmp`;
    this.#encoder = new LtxEncoder({ pageSize: fields.pageSize, commit: fields.commit });
    try {
      fs.mkdirSync(spoolPath, { recursive: true, mode: 0o700 });
      this.#fd = fs.openSync(this.#staged, 'w', 0o600);
    } catch (error) {
      this.#encoder[Symbol.dispose]();
      throw error;
    }
  }

  /** Adds the first `count` pages of a batch and fills its hashes. */
  add(batch: PageBatch, count: number): void {
    const bytes = this.#encoder.encode(batch, count);
    writeFully(this.#fd, bytes, this.#offset);
    this.#offset += bytes.length;
  }

  finish(databaseChecksum: Checksum): SpooledFile {
    const { kind, txid, pageSize, commit, wal } = this.#fields;
    const timestampMs = Date.now();
    const done = this.#encoder.finish({
      flags: FLAG_NO_CHECKSUM,
      pageSize,
      commit,
      minTxid: txid,
      maxTxid: txid,
      timestampMs,
      preApplyChecksum: checksum(0n),
      wal,
      nodeId: 0n,
      databaseChecksum,
    });
    for (const bytes of done.tail) {
      writeFully(this.#fd, bytes, this.#offset);
      this.#offset += bytes.length;
    }
    writeFully(this.#fd, done.head, 0);
    fs.fsyncSync(this.#fd);
    this.#close();
    fs.renameSync(this.#staged, this.#path);
    fsyncFolder(dirname(this.#path));
    return {
      kind,
      txid,
      path: this.#path,
      sizeBytes: done.sizeBytes,
      fileChecksum: done.fileChecksum,
      timestampMs,
      pageCount: this.#encoder.pageCount,
    };
  }

  /** Closes; removes what was not finished. */
  [Symbol.dispose](): void {
    this.#close();
    fs.rmSync(this.#staged, { force: true });
    this.#encoder[Symbol.dispose]();
  }

  #close(): void {
    if (this.#open) fs.closeSync(this.#fd);
    this.#open = false;
  }
}

/** Removes a file from the spool. */
export function removeSpooled(path: string): void {
  fs.rmSync(path, { force: true });
}

/**
 * Makes the spool ready for a capture that stands on `newest`: its folder exists, and nothing in it is newer. Returns
 * what is in it, oldest first.
 */
export function prepareSpool(spoolPath: string, newest: bigint): { readonly txid: bigint; readonly path: string }[] {
  fs.mkdirSync(spoolPath, { recursive: true, mode: 0o700 });
  const kept: { readonly txid: bigint; readonly path: string }[] = [];
  for (const name of fs.readdirSync(spoolPath).sort()) {
    const path = join(spoolPath, name);
    const parsed = parseLtxName(name);
    // What is newer than the state was never told to anyone: the capture died while it was being made.
    if (parsed && parsed.maxTxid <= newest) kept.push({ txid: parsed.maxTxid, path });
    else fs.rmSync(path, { recursive: true, force: true });
  }
  return kept;
}
