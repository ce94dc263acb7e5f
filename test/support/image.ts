import { readFileSync } from 'node:fs';
import { readLtx } from './ltx.ts';

/** A database put together from LTX files the plain way: page by page, in order. */
export class Image {
  bytes = Buffer.alloc(0);
  pageSize = 0;
  txid = 0n;
  /** Pages that some file gave. A page that none gave is no page of zeros: a restore could not make it. */
  readonly #known = new Set<number>();

  apply(path: string): void {
    const { header, pages, databaseXor } = readLtx(readFileSync(path));
    this.pageSize = header.pageSize;
    this.txid = header.maxTxid;
    const next = Buffer.alloc(header.commit * header.pageSize);
    this.bytes.copy(next, 0, 0, Math.min(this.bytes.length, next.length));
    for (const page of pages) next.set(page.bytes, (page.pgno - 1) * header.pageSize);
    this.bytes = next;
    for (const page of pages) this.#known.add(page.pgno);
    for (const pgno of this.#known) if (pgno > header.commit) this.#known.delete(pgno);
    if (header.minTxid === 1n && header.databaseChecksum !== databaseXor) throw new Error('wrong database checksum');
  }

  /** Page numbers that differ from a database file. */
  differences(database: Uint8Array): number[] {
    const pages: number[] = [];
    const count = Math.max(database.length, this.bytes.length) / this.pageSize;
    for (let i = 0; i < count; i++) {
      const a = this.bytes.subarray(i * this.pageSize, (i + 1) * this.pageSize);
      const b = database.subarray(i * this.pageSize, (i + 1) * this.pageSize);
      if (!this.#known.has(i + 1) || Buffer.compare(a, b) !== 0) pages.push(i + 1);
    }
    return pages;
  }
}
