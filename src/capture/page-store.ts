import { ScratchChunks } from '../base/scratch-chunks.ts';
import { PageTable } from './page-table.ts';

const CHUNK_BYTES = 64 * 1024;

/** The contents of any number of pages, of many of them mostly on disk. Dispose of it when done. */
export class PageStore {
  readonly #pageSize: number;
  readonly #pagesAChunk: number;
  readonly #places: PageTable;
  readonly #chunks: ScratchChunks<Uint8Array>;
  #used = 0;

  /** `folder`: for the scratch files. */
  constructor(folder: string, pageSize: number) {
    this.#pageSize = pageSize;
    this.#pagesAChunk = CHUNK_BYTES / pageSize;
    this.#places = new PageTable(folder);
    this.#chunks = new ScratchChunks(folder, () => new Uint8Array(CHUNK_BYTES));
  }

  /** Bytes of all places that were ever taken. */
  get sizeBytes(): number {
    return this.#used * this.#pageSize;
  }

  has(pgno: number): boolean {
    return this.#places.get(pgno) !== undefined;
  }

  /** The content of a page, good until the next call; undefined when there is none. */
  get(pgno: number): Uint8Array | undefined {
    const place = this.#places.get(pgno);
    if (place === undefined) return undefined;
    return this.#chunks.read(Math.floor(place / this.#pagesAChunk))?.subarray(...this.#range(place));
  }

  set(pgno: number, content: Uint8Array): void {
    const place = this.#places.get(pgno) ?? this.#used++;
    this.#places.set(pgno, place);
    this.#chunks
      .write(Math.floor(place / this.#pagesAChunk))
      .subarray(...this.#range(place))
      .set(content);
  }

  delete(pgno: number): void {
    this.#places.delete(pgno);
  }

  clear(): void {
    this.#places.clear();
    this.#chunks.clear();
    this.#used = 0;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #range(place: number): [from: number, to: number] {
    const from = (place % this.#pagesAChunk) * this.#pageSize;
    return [from, from + this.#pageSize];
  }
}
