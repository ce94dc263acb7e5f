import { ScratchChunks } from '../base/scratch-chunks.ts';

const CHUNK_PAGES = 512;

/** A number (up to 2^32 - 2) for each of some pages; 4 bytes a page, of large tables mostly on disk. Dispose of it when done. */
export class PageTable {
  /** Values plus one; 0: none. */
  readonly #chunks: ScratchChunks<Uint32Array>;
  #size = 0;

  /** `folder`: for the scratch file. */
  constructor(folder: string) {
    this.#chunks = new ScratchChunks(folder, () => new Uint32Array(CHUNK_PAGES));
  }

  /** Pages that have a number. */
  get size(): number {
    return this.#size;
  }

  get(pgno: number): number | undefined {
    const value = this.#chunks.read(Math.floor(pgno / CHUNK_PAGES))?.[pgno % CHUNK_PAGES] ?? 0;
    return value === 0 ? undefined : value - 1;
  }

  set(pgno: number, value: number): void {
    const values = this.#chunks.write(Math.floor(pgno / CHUNK_PAGES));
    if (values[pgno % CHUNK_PAGES] === 0) this.#size++;
    values[pgno % CHUNK_PAGES] = value + 1;
  }

  delete(pgno: number): void {
    if (this.get(pgno) === undefined) return;
    this.#chunks.write(Math.floor(pgno / CHUNK_PAGES))[pgno % CHUNK_PAGES] = 0;
    this.#size--;
  }

  /** Page numbers from `first` to `last`, ascending. */
  *pgnos(last: number, first = 1): Generator<number> {
    for (const index of this.#chunks.indexes) {
      if ((index + 1) * CHUNK_PAGES <= first) continue;
      const values = this.#chunks.read(index) ?? [];
      const found: number[] = []; // first all of them: the array may be put away while somebody works with one
      for (let i = 0; i < values.length; i++) if (values[i] !== 0) found.push(index * CHUNK_PAGES + i);
      for (const pgno of found) {
        if (pgno > last) return;
        if (pgno >= first) yield pgno;
      }
    }
  }

  /** The highest page numbers down to `first`, descending, `most` at most. */
  highest(first: number, most: number): number[] {
    const found: number[] = [];
    for (const index of this.#chunks.indexes.reverse()) {
      const values = this.#chunks.read(index) ?? [];
      for (let i = values.length - 1; i >= 0 && found.length < most; i--) {
        const pgno = index * CHUNK_PAGES + i;
        if (pgno >= first && values[i] !== 0) found.push(pgno);
      }
      if (found.length >= most || index * CHUNK_PAGES < first) break;
    }
    return found;
  }

  clear(): void {
    this.#chunks.clear();
    this.#size = 0;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
