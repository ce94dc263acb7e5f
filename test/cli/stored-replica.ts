import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { txid } from '../../src/base/types.ts';
import { formatLtxName } from '../../src/ltx/format.ts';
import { header, makeLtx, type Page } from '../support/ltx.ts';

const PAGE_SIZE = 512;
/** When the files of {@link storeReplica} were made. */
export const CREATED = '2026-01-02T15:04:05Z';

/**
 * Makes a replica in `folder`: a snapshot of TXID 1, and a file of level 0 for each of TXID 1 to 3. The result is the
 * database as it is at each TXID, from 1 on; its table `t` has a row for each TXID so far.
 */
export function storeReplica(folder: string): Buffer[] {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'source.db');
  const database = new DatabaseSync(path);
  const states: Buffer[] = [];
  try {
    database.exec(`PRAGMA page_size = ${PAGE_SIZE}; CREATE TABLE t (txid INTEGER)`);
    for (const id of [1n, 2n, 3n]) {
      database.prepare('INSERT INTO t VALUES (?)').run(id);
      const state = readFileSync(path);
      states.push(state);
      const file = makeLtx(
        header({ pageSize: PAGE_SIZE, commit: state.length / PAGE_SIZE, minTxid: txid(id), maxTxid: txid(id) }),
        pagesOf(state),
      );
      if (id === 1n) put(folder, 9, id, file);
      put(folder, 0, id, file);
    }
  } finally {
    database.close();
  }
  return states;
}

function pagesOf(state: Buffer): Page[] {
  return Array.from({ length: state.length / PAGE_SIZE }, (_, i) => {
    return { pgno: i + 1, bytes: state.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE) };
  });
}

function put(folder: string, level: number, id: bigint, bytes: Uint8Array): void {
  const path = join(folder, 'ltx', String(level), formatLtxName(id, id));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  utimesSync(path, new Date(CREATED), new Date(CREATED));
}
