import { RivuletError } from '../base/errors.ts';
import { formatTxid, type Txid } from '../base/types.ts';
import { SNAPSHOT_LEVEL } from './layout.ts';
import { type LtxFileInfo, newest } from './replica.ts';

/** Files that make a database when applied in this order: the first starts at TXID 1, each next one joins on. */
export interface RestorePlan {
  readonly files: readonly LtxFileInfo[];
  /** The TXID that the database is at afterwards. */
  readonly txid: Txid;
}

export interface PlanOptions {
  /** The state right after this TXID; default: the newest. It must be the last TXID of a file. */
  readonly txid?: bigint | undefined;
  /** The replica's name in error messages. */
  readonly replicaUrl?: string | undefined;
}

/**
 * Chooses the files for a restore, as Litestream does: the newest snapshot that is not past the target, then again and
 * again the file that reaches furthest of those that join on. Throws REPLICA_EMPTY, TXID_NOT_AVAILABLE or REPLICA_GAP.
 */
export function planRestore(files: readonly LtxFileInfo[], options: PlanOptions = {}): RestorePlan {
  const where = options.replicaUrl ?? 'the replica';
  if (files.length === 0) throw emptyReplica(where);
  const chosen = chooseFiles(files, options.txid);
  const last = chosen.at(-1);
  if (options.txid !== undefined) {
    if (last?.maxTxid !== options.txid) throw txidNotAvailable(files, options.txid, where);
  } else {
    const beyond = fileBeyondGap(files, last?.maxTxid ?? 0n);
    if (beyond || !last) throw gapInReplica(beyond, last, where);
  }
  return { files: chosen, txid: last.maxTxid };
}

/** Every TXID that {@link planRestore} can reach, ascending. */
export function restorableTxids(files: readonly LtxFileInfo[]): Txid[] {
  const reached: Txid[] = [];
  const ascending = usable(files).sort((a, b) => (a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : 0));
  let before = 0n; // the largest reached TXID below the current file's last one
  let previous = 0n;
  for (const file of ascending) {
    if (file.maxTxid !== previous) before = reached.at(-1) ?? 0n;
    previous = file.maxTxid;
    if (file.minTxid <= before + 1n && reached.at(-1) !== file.maxTxid) reached.push(file.maxTxid);
  }
  return reached;
}

function chooseFiles(files: readonly LtxFileInfo[], target: bigint | undefined): LtxFileInfo[] {
  const within = usable(files).filter((file) => target === undefined || file.maxTxid <= target);
  const chosen: LtxFileInfo[] = [];
  const snapshot = newest(within.filter((file) => file.level === SNAPSHOT_LEVEL));
  if (snapshot) chosen.push(snapshot);
  let reached = snapshot?.maxTxid ?? 0n;

  const waiting = within.filter((file) => file.level !== SNAPSHOT_LEVEL && file.maxTxid > reached);
  waiting.sort((a, b) => (a.minTxid < b.minTxid ? -1 : a.minTxid > b.minTxid ? 1 : 0));
  let best: LtxFileInfo | undefined;
  let next = 0;
  for (;;) {
    for (let file = waiting[next]; file && file.minTxid <= reached + 1n; file = waiting[++next]) {
      if (!best || isBetter(file, best)) best = file;
    }
    if (!best || best.maxTxid <= reached) return chosen;
    chosen.push(best);
    reached = best.maxTxid;
  }
}

/** Snapshots are complete images by definition; anything else in their level joins on to nothing. */
function usable(files: readonly LtxFileInfo[]): LtxFileInfo[] {
  return files.filter((file) => file.level !== SNAPSHOT_LEVEL || file.minTxid === 1n);
}

/** Further first, then the one that starts earlier, then the higher level, then the older. */
function isBetter(a: LtxFileInfo, b: LtxFileInfo): boolean {
  if (a.maxTxid !== b.maxTxid) return a.maxTxid > b.maxTxid;
  if (a.minTxid !== b.minTxid) return a.minTxid < b.minTxid;
  if (a.level !== b.level) return a.level > b.level;
  return a.createdMs < b.createdMs;
}

/** The earliest file that starts past `reached + 1`: what is between was lost, or not listed. */
function fileBeyondGap(files: readonly LtxFileInfo[], reached: bigint): LtxFileInfo | undefined {
  let found: LtxFileInfo | undefined;
  for (const file of usable(files)) {
    if (file.minTxid > reached + 1n && (!found || file.minTxid < found.minTxid)) found = file;
  }
  return found;
}

function emptyReplica(where: string): RivuletError {
  return new RivuletError({
    code: 'REPLICA_EMPTY',
    message: `${where} holds no backup: there are no LTX files in it`,
    next: 'check the URL, or start replicating to it',
  });
}

function txidNotAvailable(files: readonly LtxFileInfo[], target: bigint, where: string): RivuletError {
  const restorable = restorableTxids(files);
  const before = restorable.findLast((id) => id < target);
  const after = restorable.find((id) => id > target);
  const near = [before && `${formatTxid(before)} (before)`, after && `${formatTxid(after)} (after)`].filter(Boolean);
  return new RivuletError({
    code: 'TXID_NOT_AVAILABLE',
    message: `TXID ${formatTxid(target)} cannot be restored from ${where}: no unbroken chain of its files ends there`,
    next:
      near.length > 0 ? `the nearest TXIDs that can be restored: ${near.join(', ')}` : 'no TXID of it can be restored',
  });
}

function gapInReplica(beyond: LtxFileInfo | undefined, last: LtxFileInfo | undefined, where: string): RivuletError {
  const first = (last?.maxTxid ?? 0n) + 1n;
  const missing = beyond
    ? `TXIDs ${formatTxid(first)} to ${formatTxid(beyond.minTxid - 1n)} are missing before ${beyond.key}`
    : 'it has no file that starts at TXID 1';
  return new RivuletError({
    code: 'REPLICA_GAP',
    message: `${where} has a gap: ${missing}`,
    next: last
      ? `restore what comes before the gap: -txid ${formatTxid(last.maxTxid)}`
      : 'look for the missing files, or restore from another replica',
  });
}
