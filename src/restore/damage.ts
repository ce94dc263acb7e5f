import { RivuletError } from '../base/errors.ts';
import { formatTxid, type Txid } from '../base/types.ts';
import type { LtxError } from '../ltx/ltx-error.ts';
import { planRestore, restorableTxids } from '../replica/plan.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { objectUrl } from '../store/store.ts';

/** How many other TXIDs are tried in search of one that a damaged file is not needed for. */
const MAX_ALTERNATIVES_TRIED = 500;

/** Damage in a planned file, on its way to {@link damagedFileError}. */
export class DamagedFile extends Error {
  readonly file: LtxFileInfo;
  override readonly cause: LtxError;

  constructor(file: LtxFileInfo, cause: LtxError) {
    super(cause.message);
    this.file = file;
    this.cause = cause;
  }
}

/** The error for the user: which file, what is wrong with it, and which TXIDs can be restored without it. */
export function damagedFileError(
  damaged: DamagedFile,
  files: readonly LtxFileInfo[],
  goal: Txid,
  replicaUrl: string,
): RivuletError {
  const { file, cause } = damaged;
  const others = alternatives(file, files, goal).map(formatTxid);
  return new RivuletError({
    code: 'REPLICA_FILE_DAMAGED',
    message: `${objectUrl(replicaUrl, file.key)}: ${cause.message}`,
    kept: 'nothing was changed',
    next:
      others.length > 0
        ? `restore a state that does not need this file: -txid ${others.join(' or -txid ')}`
        : 'every state of this replica needs this file: restore from another replica, or a copy of this one',
    cause,
  });
}

/** The nearest TXIDs before and after `goal` whose plans do without `file`. */
function alternatives(file: LtxFileInfo, files: readonly LtxFileInfo[], goal: Txid): Txid[] {
  const ids = restorableTxids(files);
  const needsFile = (id: Txid): boolean => planRestore(files, { txid: id }).files.some((f) => f.key === file.key);
  const before = ids.filter((id) => id < goal).slice(-MAX_ALTERNATIVES_TRIED);
  const after = ids.filter((id) => id > goal).slice(0, MAX_ALTERNATIVES_TRIED);
  return [before.findLast((id) => !needsFile(id)), after.find((id) => !needsFile(id))].filter((id) => id !== undefined);
}
