import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type Checksum, checksum, formatTxid, type Txid } from '../base/types.ts';
import { cappedBytes, type L0Kind, type SpooledFile } from '../capture/l0-writer.ts';
import { NOTHING_STORED, type StartingPoint, type StoredBase } from '../capture/options.ts';
import { LtxDecoder } from '../ltx/decoder.ts';
import { imagePageCount, type LtxHeader, parseLtxName } from '../ltx/format.ts';
import { createIdentity, type Identity, newLineage, readIdentity } from '../replica/identity.ts';
import {
  dropState,
  type LocalPosition,
  loadLocalPosition,
  saveRestoredState,
  setSpoolAside,
  spoolPathFor,
} from '../replica/local-state.ts';
import { lockOwner } from '../replica/owner-lock.ts';
import { planRestore } from '../replica/plan.ts';
import { type LtxFileInfo, newest, type Replica } from '../replica/replica.ts';
import { rebuildPageHashes } from '../restore/rebuild-hashes.ts';
import type { Store } from '../store/store.ts';
import { hasSnapshotSince, removeLeftSnapshot } from './snapshot.ts';
import { storedChecksum, storeFile, storeSpooled } from './uploader.ts';

/** From where a capture starts, and what has to be stored before anything that it makes. */
export interface Start {
  readonly point: StartingPoint;
  readonly lineage: string;
  /** Oldest first; each follows the one before and the replica's newest. */
  readonly unstored: readonly SpooledFile[];
  /** What is stored before all that. */
  readonly base: StoredBase;
}

const PROBE_KEY = 'rivulet.probe';

interface Place {
  readonly databasePath: string;
  readonly metaPath: string;
  readonly store: Store;
  readonly replica: Replica;
  readonly log: Logger;
  /** Ends the looking: a store that is away is asked again for minutes. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds out what the replica has of the database. Local state counts only when the replica's newest L0 file is the very
 * file that it stands on; else the replica itself is read, and the database will be compared with that.
 */
export async function findStart(place: Place): Promise<Start> {
  const { store, replica, signal } = place;
  const identity = await readIdentity(store, { signal });
  const state = usableState(place, identity);
  removeLeftSnapshot(place.metaPath);
  const files = await replica.listAll({ signal });
  if (files.length === 0) return startEmpty(place, identity, state);
  checkUnbroken(place, files);
  const lineage = (identity ?? (await createIdentity(store, state?.lineage, { signal }))).lineage;

  const stored = newest(files.filter((file) => file.level === 0));
  const theirs = stored ? await leftByLitestream(place, stored) : [];
  if (theirs.length > 0) return startFromReplica(place, lineage, theirs);
  if (state && stored) {
    const following = await continuation(place, state, stored);
    if (following) {
      const unstored = withImage(place, state, files, following.unstored);
      return startFromState(state, lineage, unstored ?? following.unstored, following.stored, unstored === undefined);
    }
  }
  return startFromReplica(place, lineage, []);
}

/**
 * Stores what an earlier run captured and could not store. For when the database itself is gone: those files are all
 * there is of their commits.
 */
export async function storeLeftovers(place: Place): Promise<void> {
  if (!fs.existsSync(place.metaPath)) return;
  using _ = lockOwner(place.databasePath, place.metaPath);
  const { store, replica, signal } = place;
  const identity = await readIdentity(store, { signal });
  const state = usableState(place, identity);
  if (!state) return;
  const files = await replica.listAll({ signal });
  const stored = newest(files.filter((file) => file.level === 0));
  const following = stored
    ? (await continuation(place, state, stored))?.unstored
    : files.length === 0 && spooledTo(state, spooledFiles(place), 0n);
  const unstored = following && (withImage(place, state, files, following) ?? following);
  for (const file of unstored || []) {
    await storeSpooled(store, replica.layout, file, signal);
    if (file.txid === 1n) await createIdentity(store, state.lineage, { signal });
    place.log.log('info', 'stored a file that an earlier run had not', { txid: formatTxid(file.txid) });
  }
}

/** Local state, if it belongs to this replica. State of another history at the same path is an error, not a detail. */
function usableState(place: Place, identity: Identity | undefined): LocalPosition | undefined {
  const state = loadLocalPosition(place.metaPath);
  if (!state || state.replicaUrl !== place.store.url) return undefined;
  const { lineage } = state;
  if (identity && lineage !== undefined && lineage !== identity.lineage) {
    throw new RivuletError({
      code: 'LINEAGE_MISMATCH',
      message: `${place.store.url} holds the history of another database than ${place.databasePath}`,
      kept: 'nothing was written to it',
      next: `replicate to another path; or, if this database is to carry that history on, remove ${place.metaPath}`,
    });
  }
  return state;
}

/** Where nothing is stored: with what an earlier start made and could not store, or from the beginning. */
async function startEmpty(
  place: Place,
  identity: Identity | undefined,
  state: LocalPosition | undefined,
): Promise<Start> {
  await probe(place);
  const lineage = identity?.lineage ?? state?.lineage ?? newLineage();
  const unstored = state && spooledTo(state, spooledFiles(place), 0n);
  if (state && unstored) return startFromState(state, lineage, unstored, NOTHING_STORED);
  if (state) {
    const message = 'the replica is empty, although this database was stored in it; storing it anew';
    place.log.log('warn', message, { before: formatTxid(state.txid) });
  }
  dropState(place.metaPath);
  fs.rmSync(spoolPathFor(place.metaPath), { recursive: true, force: true });
  return {
    point: { position: undefined, spooledBytes: 0, storedTxid: 0n },
    lineage,
    unstored: [],
    base: NOTHING_STORED,
  };
}

/** A store that cannot be written to fails here, before anything else is begun. */
async function probe({ store, signal }: Place): Promise<void> {
  await store.put(PROBE_KEY, { bytes: Buffer.from('Rivulet looks whether it can write here.\n') }, { signal });
  const [deleted] = await store.delete([PROBE_KEY], { signal });
  if (deleted?.error) throw deleted.error;
}

function startFromState(
  state: LocalPosition,
  lineage: string,
  unstored: readonly SpooledFile[],
  stored: Pick<StoredBase, 'txid' | 'fileChecksum'>,
  needsImage = false,
): Start {
  const spooledBytes = unstored.reduce((sum, file) => sum + cappedBytes(file), 0);
  const [first] = unstored;
  const lacksSnapshot = needsImage || (first !== undefined && first.txid <= stored.txid);
  const base = { txid: stored.txid, fileChecksum: stored.fileChecksum, lacksSnapshot };
  const point = {
    position: { ...state, lineage },
    spooledBytes,
    storedTxid: first ? first.txid - 1n : state.txid,
    needsImage,
  };
  return { point, lineage, unstored, base };
}

/**
 * What has to be stored, with the image before it whose level 0 file is stored and whose snapshot is not: whoever stored it died
 * between the two. Undefined when there is such an image and it is not in the spool.
 */
function withImage(
  place: Place,
  { imageTxid }: LocalPosition,
  files: readonly LtxFileInfo[],
  unstored: readonly SpooledFile[],
): readonly SpooledFile[] | undefined {
  if (imageTxid === undefined || hasSnapshotSince(files, imageTxid)) return unstored;
  if (unstored.some((file) => file.txid === imageTxid)) return unstored;
  const spooled = spooledFiles(place).find((file) => file.maxTxid === imageTxid);
  const image = spooled && proveFile(spooled.path);
  return image?.kind === 'image' ? [image, ...unstored] : undefined;
}

async function startFromReplica(place: Place, lineage: string, theirs: readonly SpooledFile[]): Promise<Start> {
  for (const file of theirs) {
    await storeFile(place.store, place.replica.layout, file, place.signal);
    place.log.log('info', 'stored a file that Litestream had not', { txid: formatTxid(file.txid) });
  }
  place.log.log('info', 'reading the replica to compare the database with it', { replica: place.store.url });
  const { hashes, txid, pageSize, imageTxid } = await rebuild(place);
  using _ = hashes;
  const position = {
    replicaUrl: place.store.url,
    lineage,
    txid,
    fileChecksum: await newestChecksum(place, txid),
    pageSize,
    pageCount: hashes.pageCount,
    imageTxid,
    wal: undefined,
  };
  keepLastCopies(place);
  // As after a restore: these hashes, and nothing known of the WAL.
  saveRestoredState(place.metaPath, position, hashes);
  const needsImage = imageTxid !== undefined;
  const base = { txid, fileChecksum: position.fileChecksum, lacksSnapshot: needsImage };
  return { point: { position, spooledBytes: 0, storedTxid: txid, needsImage }, lineage, unstored: [], base };
}

/** Where the database is gone, what does not join the replica any more is still all there is of its commits. */
function keepLastCopies({ databasePath, metaPath, log }: Place): void {
  const folder = fs.existsSync(databasePath) ? undefined : setSpoolAside(metaPath, NOTHING_STORED);
  if (folder === undefined) return;
  log.log('warn', 'files that were not stored do not join the replica, which went on without them; they are kept', {
    folder,
  });
}

/** The checksum of the level 0 file that ends at `txid`: by it the next start knows the replica again. 0n: there is none. */
async function newestChecksum({ replica, store, signal }: Place, txid: Txid): Promise<Checksum> {
  const file = await replica.newestL0({ signal });
  const known = file?.maxTxid === txid ? await storedChecksum(store, file.key, file.sizeBytes, { signal }) : undefined;
  return known ?? checksum(0n);
}

/** What comes after a gap could never be restored: nothing is built upon one. */
function checkUnbroken(place: Place, files: readonly LtxFileInfo[]): void {
  try {
    planRestore(files, { replicaUrl: place.store.url });
  } catch (error) {
    throw unusable(place, error);
  }
}

/** Codes of a replica that cannot be built upon. */
const UNUSABLE: readonly string[] = ['REPLICA_FILE_DAMAGED', 'REPLICA_GAP', 'PAGE_SIZE_MISMATCH'];

async function rebuild(place: Place): ReturnType<typeof rebuildPageHashes> {
  const { replica, metaPath, log, signal } = place;
  try {
    return await rebuildPageHashes(replica, { scratchFolder: metaPath, logger: log, signal });
  } catch (error) {
    throw unusable(place, error);
  }
}

function unusable(place: Place, error: unknown): unknown {
  if (!(error instanceof RivuletError) || !UNUSABLE.includes(error.code)) return error;
  return new RivuletError({
    code: 'REPLICA_DAMAGED',
    message: `the replica ${place.store.url} cannot be continued: ${messageOf(error)}`,
    kept: 'the database and the replica are as they were',
    next: 'replicate to a new path, and keep the old one for what can still be restored from it',
    cause: error,
  });
}

/**
 * The spooled files that lead from the replica's newest file to the local state; undefined when they do not, that is when
 * the replica went on without us, or is not the one that the state stands on.
 */
async function continuation(
  place: Place,
  state: LocalPosition,
  stored: LtxFileInfo,
): Promise<
  { readonly unstored: readonly SpooledFile[]; readonly stored: Pick<StoredBase, 'txid' | 'fileChecksum'> } | undefined
> {
  const { txid, fileChecksum } = state;
  if (stored.maxTxid > txid) return undefined;
  const { store, signal } = place;
  const theirs = await storedChecksum(store, stored.key, stored.sizeBytes, { signal });
  if (theirs === undefined) return undefined;
  const proven = { txid: stored.maxTxid, fileChecksum: theirs };
  if (stored.maxTxid === txid) return theirs === fileChecksum ? { unstored: [], stored: proven } : undefined;

  const spooled = spooledFiles(place);
  const ours = spooled.find((file) => file.maxTxid === stored.maxTxid);
  if (!ours || proveFile(ours.path)?.fileChecksum !== theirs) return undefined;
  const unstored = spooledTo(state, spooled, stored.maxTxid);
  return unstored && { unstored, stored: proven };
}

function spooledFiles({ metaPath }: Place): readonly FolderFile[] {
  return readFolder(spoolPathFor(metaPath));
}

/** The spooled files that lead without a gap from `txid` to the local state, each proven; undefined when they do not. */
function spooledTo(
  state: LocalPosition,
  spooled: readonly FolderFile[],
  txid: bigint,
): readonly SpooledFile[] | undefined {
  const upTo = spooled.filter((file) => file.maxTxid <= state.txid);
  const files = contiguousAfter(upTo, txid).map((file) => proveFile(file.path));
  const last = files.at(-1);
  if (files.some((file) => !file) || last?.txid !== state.txid || last.fileChecksum !== state.fileChecksum)
    return undefined;
  return files.filter((file) => file !== undefined);
}

/** L0 files in Litestream's own folder that it had not stored when it ended: they come before anything of ours. */
async function leftByLitestream(place: Place, stored: LtxFileInfo): Promise<readonly SpooledFile[]> {
  const folder = join(dirname(place.databasePath), `.${basename(place.databasePath)}-litestream`, 'ltx', '0');
  const local = readFolder(folder);
  const same = local.find((file) => file.maxTxid === stored.maxTxid);
  if (!same) return [];
  const { store, signal } = place;
  const theirs = await storedChecksum(store, stored.key, stored.sizeBytes, { signal });
  if (proveFile(same.path)?.fileChecksum !== theirs) return [];
  const proven: SpooledFile[] = [];
  for (const file of contiguousAfter(local, stored.maxTxid)) {
    const whole = proveFile(file.path);
    if (!whole) break;
    proven.push(whole);
  }
  return proven;
}

interface FolderFile {
  readonly path: string;
  readonly maxTxid: Txid;
}

/** Single-TXID files of a folder, ascending; nothing for a folder that is not there. */
function readFolder(folder: string): FolderFile[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .sort()
    .map((name) => ({ name, parsed: parseLtxName(name) }))
    .filter(({ parsed }) => parsed !== undefined && parsed.minTxid === parsed.maxTxid)
    .flatMap(({ name, parsed }) => (parsed ? [{ path: join(folder, name), maxTxid: parsed.maxTxid }] : []));
}

function contiguousAfter(files: readonly FolderFile[], txid: bigint): FolderFile[] {
  const run: FolderFile[] = [];
  for (const file of files) if (file.maxTxid === txid + BigInt(run.length) + 1n) run.push(file);
  return run;
}

/** Reads a local LTX file whole; undefined unless everything in it holds. */
function proveFile(path: string): SpooledFile | undefined {
  const fd = fs.openSync(path, 'r');
  try {
    const { header, fileChecksum, pageCount } = decodeFile(fd);
    const sizeBytes = fs.fstatSync(fd).size;
    const { maxTxid, timestampMs } = header;
    return { kind: kindOf(header, pageCount), txid: maxTxid, path, sizeBytes, fileChecksum, timestampMs, pageCount };
  } catch (error) {
    if (error instanceof RivuletError) return undefined;
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** As far as a file tells it: a comparison that found every page changed is an image, too. */
function kindOf({ wal, commit, pageSize }: LtxHeader, pageCount: number): L0Kind {
  if (wal.size > 0n) return 'increment';
  return pageCount === imagePageCount(commit, pageSize) ? 'image' : 'diff';
}

function decodeFile(fd: number): { header: LtxHeader; fileChecksum: Checksum; pageCount: number } {
  using decoder = new LtxDecoder();
  let pageCount = 0;
  for (;;) {
    const step = decoder.next();
    if (step.kind === 'done' && decoder.header) {
      return { header: decoder.header, fileChecksum: step.trailer.fileChecksum, pageCount };
    }
    if (step.kind === 'pages') {
      pageCount += step.count;
    } else {
      const got = fs.readSync(fd, decoder.room());
      if (got === 0) decoder.end();
      else decoder.advance(got);
    }
  }
}
