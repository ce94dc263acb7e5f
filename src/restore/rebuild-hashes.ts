import { assert } from '../base/errors.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import type { Txid } from '../base/types.ts';
import { PageHashes } from '../replica/page-hashes.ts';
import { planRestore } from '../replica/plan.ts';
import type { LtxFileInfo, Replica } from '../replica/replica.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { DamagedFile, damagedFileError } from './damage.ts';
import { PageSizeChange } from './page-size-change.ts';
import { readHeader } from './planned-file.ts';
import type { ReadContext } from './range-reader.ts';
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
  /** The image that began this page size, by its last TXID, where files of another size come before it. */
  readonly imageTxid: Txid | undefined;
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
  const hashes = new PageHashes(options.scratchFolder);
  try {
    return { hashes, txid, ...(await readHashes(files, hashes, context)) };
  } catch (error) {
    hashes[Symbol.dispose]();
    throw error instanceof DamagedFile ? damagedFileError(error, listing, txid, replica.store.url) : error;
  }
}

async function readHashes(
  files: readonly LtxFileInfo[],
  hashes: PageHashes,
  context: ReadContext,
): Promise<Pick<RebuiltHashes, 'pageSize' | 'imageTxid'>> {
  const last = files.at(-1);
  assert(last, 'a plan has files');
  const newest = await readHeader(context, last);
  const { pageSize, commit } = newest;
  hashes.resize(commit);
  try {
    await readWholeFiles({
      files,
      context,
      prefetch: { ...PREFETCH, signal: context.signal },
      onHeader: (header, file) => {
        if (header.pageSize === pageSize) return;
        throw new PageSizeChange(files.indexOf(file), header, file, newest, last);
      },
      onPages: (batch, count) => {
        for (let i = 0; i < count; i++) {
          const pgno = batch.pgnos[i] ?? 0;
          // The newest file comes first: what is known is not looked at again.
          if (pgno <= commit && hashes.get(pgno) === 0n) hashes.set(pgno, batch.hashes[i] ?? 0n);
        }
      },
      onRange: () => undefined,
    });
    return { pageSize, imageTxid: undefined };
  } catch (error) {
    if (!(error instanceof PageSizeChange)) throw error;
    // All files after it are read and proven by now: the newest ones come first.
    if (!knowsAll(hashes, pageSize)) throw error.mismatch;
    return { pageSize, imageTxid: files[error.number + 1]?.maxTxid };
  }
}

function knowsAll(hashes: PageHashes, pageSize: number): boolean {
  const lock = lockPageNumber(pageSize);
  for (let pgno = 1; pgno <= hashes.pageCount; pgno++) if (pgno !== lock && hashes.get(pgno) === 0n) return false;
  return true;
}
