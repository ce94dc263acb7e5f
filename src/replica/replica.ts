import type { Txid } from '../base/types.ts';
import { parseLtxName } from '../ltx/format.ts';
import type { ObjectInfo, ReadableStore, RequestOptions } from '../store/store.ts';
import { FILE_LAYOUT, type KeyLayout, LEVELS, type Level } from './layout.ts';

/** One file of a replica, as listed. */
export interface LtxFileInfo {
  readonly level: Level;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly sizeBytes: number;
  /** When the store says that it was written, ms since 1970; stores that keep the header's time give that. */
  readonly createdMs: number;
  readonly key: string;
}

/** The stored files of one database. Reading only: whoever writes holds the {@link Store} itself. */
export class Replica {
  readonly store: ReadableStore;
  readonly layout: KeyLayout;

  constructor(store: ReadableStore, layout: KeyLayout = FILE_LAYOUT) {
    this.store = store;
    this.layout = layout;
  }

  /** The files of a level, ascending by first and then last TXID. Names that are not LTX names are skipped. */
  async list(level: Level, options: RequestOptions = {}): Promise<LtxFileInfo[]> {
    return this.#list(this.layout.levelPrefix(level), [level], options);
  }

  /**
   * The files of all levels, level by level, in one listing. Level 0 comes first in it, and a merged file is stored before those
   * that it was made from are removed: so a file that moves up meanwhile is seen at least once.
   */
  listAll(options: RequestOptions = {}): Promise<LtxFileInfo[]> {
    return this.#list(this.layout.prefix, LEVELS, options);
  }

  /** What Litestream takes for the replica's position: the level 0 file with the largest last TXID. */
  async newestL0(options: RequestOptions = {}): Promise<LtxFileInfo | undefined> {
    return newest(await this.list(0, options));
  }

  async #list(prefix: string, levels: readonly Level[], options: RequestOptions): Promise<LtxFileInfo[]> {
    const places = levels.map((level) => ({ level, prefix: this.layout.levelPrefix(level) }));
    const files: LtxFileInfo[] = [];
    for await (const object of this.store.list(prefix, options)) {
      const place = places.find((candidate) => object.key.startsWith(candidate.prefix));
      const file = place && fileInfo(object, place.level, place.prefix);
      if (file) files.push(file);
    }
    // Names are fixed-width hex, so key order is TXID order; a store whose own order differs is put right here.
    return files.sort(byLevelAndTxid);
  }
}

/** The file with the largest last TXID. */
export function newest(files: readonly LtxFileInfo[]): LtxFileInfo | undefined {
  let found: LtxFileInfo | undefined;
  for (const file of files) {
    if (!found || file.maxTxid > found.maxTxid) found = file;
  }
  return found;
}

function fileInfo(object: ObjectInfo, level: Level, prefix: string): LtxFileInfo | undefined {
  const name = parseLtxName(object.key.slice(prefix.length));
  return name && { level, ...name, sizeBytes: object.sizeBytes, createdMs: object.modifiedMs, key: object.key };
}

function byLevelAndTxid(a: LtxFileInfo, b: LtxFileInfo): number {
  if (a.level !== b.level) return a.level - b.level;
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid ? -1 : 1;
  if (a.maxTxid !== b.maxTxid) return a.maxTxid < b.maxTxid ? -1 : 1;
  return 0;
}
