import type { Txid } from '../base/types.ts';
import { LtxDecoder } from '../ltx/decoder.ts';
import type { LtxHeader } from '../ltx/format.ts';
import { PageHashes } from '../replica/page-hashes.ts';
import { planRestore } from '../replica/plan.ts';
import type { LtxFileInfo, Replica } from '../replica/replica.ts';
import type { RequestOptions } from '../store/store.ts';

/** What a replica holds at its end, as page hashes. */
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
export async function rebuildPageHashes(replica: Replica, options: RequestOptions = {}): Promise<RebuiltHashes> {
  const plan = planRestore(await replica.listAll(options), { replicaUrl: replica.store.url });
  const hashes = new PageHashes();
  let pageSize = 0;
  for (const file of plan.files) {
    const header = await hashFile(replica, file, hashes, options);
    pageSize = header.pageSize;
  }
  return { hashes, txid: plan.txid, pageSize };
}

async function hashFile(
  replica: Replica,
  file: LtxFileInfo,
  hashes: PageHashes,
  options: RequestOptions,
): Promise<LtxHeader> {
  using decoder = new LtxDecoder();
  const reader = await replica.store.open(file.key, options);
  let resized = false;
  try {
    for (;;) {
      const step = decoder.next();
      if (decoder.header && !resized) {
        hashes.resize(decoder.header.commit);
        resized = true;
      }
      if (step.kind === 'done' && decoder.header) return decoder.header;
      if (step.kind === 'pages') {
        for (let i = 0; i < step.count; i++) hashes.set(step.batch.pgnos[i] ?? 0, step.batch.hashes[i] ?? 0n);
      } else {
        const got = await reader.read(decoder.room());
        if (got === 0) decoder.end();
        else decoder.advance(got);
      }
    }
  } finally {
    await reader.close();
  }
}
