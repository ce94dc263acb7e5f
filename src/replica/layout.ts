import { formatLtxName, parseLtxName } from '../ltx/format.ts';

/*
 * Where a replica keeps its files, under the store's root:
 *
 * | layout | stores                                   | key of a file                          |
 * | ------ | ---------------------------------------- | -------------------------------------- |
 * | file   | file, gs, abs, sftp, webdav, nats        | ltx/<level, decimal>/<min>-<max>.ltx   |
 * | hex    | s3, oss                                  | <level, 4 hex digits>/<min>-<max>.ltx  |
 */

/** 0: one file a sync; 1 to 8: merged files; 9: snapshots, complete images. */
export type Level = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;

export const SNAPSHOT_LEVEL = 9;

export const LEVELS: readonly Level[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** How a kind of store names the files of a replica. */
export interface KeyLayout {
  /** What the keys of all levels start with, and as few others as can be. */
  readonly prefix: string;
  /** What the keys of a level start with, the closing slash included. */
  levelPrefix(level: Level): string;
  key(level: Level, minTxid: bigint, maxTxid: bigint): string;
}

function layoutOf(prefix: string, levelPrefix: (level: Level) => string): KeyLayout {
  return {
    prefix,
    levelPrefix,
    key: (level, minTxid, maxTxid) => levelPrefix(level) + formatLtxName(minTxid, maxTxid),
  };
}

export const FILE_LAYOUT: KeyLayout = layoutOf('ltx/', (level) => `ltx/${level}/`);

export const HEX_LAYOUT: KeyLayout = layoutOf('000', (level) => `${level.toString(16).padStart(4, '0')}/`);

/** Whether this is the key of a file of a replica. */
export function isKeyOf(layout: KeyLayout, key: string): boolean {
  return LEVELS.some((level) => {
    const prefix = layout.levelPrefix(level);
    return key.startsWith(prefix) && parseLtxName(key.slice(prefix.length)) !== undefined;
  });
}
