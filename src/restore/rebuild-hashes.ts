import { type Logger, silentLogger } from '../base/log.ts';
import type { Txid } from '../base/types.ts';
import { PageHashes } from '../replica/page-hashes.ts';
import { planRestore } from '../replica/plan.ts';
import type { Replica } from '../replica/replica.ts';
import { DamagedFile, damagedFileError } from './damage.ts';
import { checkPageSize, readHeader } from './planned-file.ts';
import { readWholeFiles } from './whole-files.ts';

/** Requests at a time, and bytes of each. */
const PREFETCH = { depth: 4, bufferBytes: 2 * 1024 * 1024 } as const;

export interface RebuildHashesOptions {
  /** Where a scratch file may be made, for a large database. */
  readonly scratchFolder: string;
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
}

/** What a replica holds at its end, as page hashes. Dispose of them. */
export interface RebuiltHashes {
  readonly hashes: PageHashes;
  readonly txid: Txid;
  /** Bytes a page. */
  readonly pageSize: number;
}

/**
 * Reads everything that a restore would read and keeps only the hash of every page: what a database must be compared with
 * when no local state says it. Every file is proven by its checksum. Errors as for a restore.
 */
export async function rebuildPageHashes(replica: Replica, options: RebuildHashesOptions): Promise<RebuiltHashes> {
  const signal = options.signal ?? new AbortController().signal;
  const context = { store: replica.store, signal, logger: options.logger ?? silentLogger, onBytes: () => undefined };
  const listing = await replica.listAll({ signal });
  const { files, txid } = planRestore(listing, { replicaUrl: replica.store.url });
  const last = files.at(-1);
  if (!last) throw new RangeError('a plan has files');
  const hashes = new PageHashes(options.scratchFolder);
  try {
    const newest = await readHeader(context, last);
    hashes.resize(newest.commit);
    await readWholeFiles({
      files,
      context,
      prefetch: { ...PREFETCH, signal },
      onHeader: (header, file) => checkPageSize(header, file, newest, last),
      onPages: (batch, count) => {
        for (let i = 0; i < count; i++) {
          const pgno = batch.pgnos[i] ?? 0;
          // The newest file comes first: what is known is not looked at again.
          if (pgno <= newest.commit && hashes.get(pgno) === 0n) hashes.set(pgno, batch.hashes[i] ?? 0n);
        }
      },
      onRange: () => undefined,
    });
    return { hashes, txid, pageSize: newest.pageSize };
  } catch (error) {
    hashes[Symbol.dispose]();
    throw error instanceof DamagedFile ? damagedFileError(error, listing, txid, replica.store.url) : error;
  }
}
