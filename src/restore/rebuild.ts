import { forEachLimited } from '../base/async.ts';
import { assert, hasCode, RivuletError } from '../base/errors.ts';
import { CHECKSUM_FLAG, type Checksum, type Txid } from '../base/types.ts';
import { imagePageCount, type LtxHeader } from '../ltx/format.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import type { PageHashes } from '../replica/page-hashes.ts';
import type { RestorePlan } from '../replica/plan.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { DamagedFile } from './damage.ts';
import { fetchPages, type MappedFile } from './page-exact.ts';
import { MAX_MAPPED_FILES, PageMap } from './page-map.ts';
import { PageSizeChange } from './page-size-change.ts';
import { checkSize, type FileEnds, openFile, readEnds } from './planned-file.ts';
import type { PrefetchOptions } from './prefetch.ts';
import type { Progress } from './progress.ts';
import type { ReadContext } from './range-reader.ts';
import { notReadBack, readBack } from './read-back.ts';
import type { StagedDatabase } from './staged-database.ts';
import { readWholeFiles } from './whole-files.ts';

/** Memory for bytes on their way from the store, whatever the parallelism. */
export const FETCH_MEMORY_BYTES = 32 * 1024 * 1024;
const MAX_RANGE_BYTES = 4 * 1024 * 1024;
export const MAX_PARALLELISM = 64;
/** A page takes at least this much of a file: its frame and its entry in the page index. */
const MIN_STORED_PAGE_BYTES = 16;
/** Pages named in an error. */
const MAX_NAMED_PAGES = 5;
/** Small files kept in memory from the reading of their indexes on, together. */
const KEPT_FILES_BYTES = 8 * 1024 * 1024;

/** Errors that say that files of one plan do not fit each other. */
const CONTRADICTIONS = ['PAGES_MISSING', 'DATABASE_CHECKSUM_MISMATCH'] as const;

/** What proves a restored database: its own checksum, or those of all files that it was made from. */
export type Proof = 'database-checksum' | 'file-checksums';

/** A proven database in its staged file. */
export interface Rebuilt {
  /** Of the plan's last file: the state that was restored. */
  readonly header: LtxHeader;
  /** Of that file, as its trailer says. */
  readonly fileChecksum: Checksum;
  readonly proof: Proof;
  /** What it was made from: the plan, or the part of it since the page size changed. */
  readonly files: readonly LtxFileInfo[];
  /** The end of the image with which that part begins; undefined when it was the whole plan. */
  readonly imageTxid: Txid | undefined;
}

export interface RebuildOptions {
  readonly plan: RestorePlan;
  readonly context: ReadContext;
  readonly staged: StagedDatabase;
  /** Will hold the hash of every page of the database. */
  readonly hashes: PageHashes;
  readonly parallelism: number;
  /** Pages that are mapped at a time. */
  readonly windowPages: number;
  readonly progress: Progress;
}

/**
 * Makes the database of a plan in a staged file, durable and proven. No listing tells the page size of a file: where it turns
 * out to change on the way, an image took the place of everything before it, and the plan begins there.
 */
export async function rebuild(options: RebuildOptions): Promise<Rebuilt> {
  try {
    return { ...(await rebuildWhole(options)), imageTxid: undefined };
  } catch (error) {
    if (!(error instanceof PageSizeChange)) throw error;
    return await rebuildSince(error, options);
  }
}

async function rebuildSince({ number, mismatch }: PageSizeChange, options: RebuildOptions): Promise<Rebuilt> {
  const { plan } = options;
  const files = plan.files.slice(number + 1);
  try {
    const rebuilt = await rebuildWhole({ ...options, plan: { ...plan, files } });
    return { ...rebuilt, imageTxid: files[0]?.maxTxid };
  } catch (error) {
    if (!hasCode(error, 'PAGES_MISSING')) throw error;
    // No image: the page size that differs may be a damaged one.
    await findDamage(options);
    throw mismatch;
  }
}

async function rebuildWhole(options: RebuildOptions): Promise<Omit<Rebuilt, 'imageTxid'>> {
  const { plan, context } = options;
  for (const file of plan.files) checkSize(file);
  const lastFile = plan.files.at(-1);
  assert(lastFile, 'a plan has files');
  const lastEnds = await readEnds(context, lastFile);
  const { header } = lastEnds;
  checkCommit(header, lastFile, plan);
  const work: Placing = { ...options, header, lastFile, lastEnds };
  try {
    await place(work);
    return { ...(await prove(work)), files: plan.files };
  } catch (error) {
    // Files that contradict each other: one of them may be damaged where only its own checksum shows it.
    if (hasCode(error, ...CONTRADICTIONS)) await findDamage(work);
    throw error;
  }
}

async function place(work: Placing): Promise<void> {
  const { header, plan, staged } = work;
  staged.start(header.commit * header.pageSize);
  const isExact = header.databaseChecksum !== 0n && plan.files.length <= MAX_MAPPED_FILES;
  if (isExact) await placeExactly(work);
  else await placeFromWholeFiles(work);
}

/** Makes the staged file durable and proves it: that it holds what was placed, and that this is the database meant. */
async function prove(work: Placing): Promise<Pick<Rebuilt, 'header' | 'fileChecksum' | 'proof'>> {
  const { header, lastFile, lastEnds, staged, hashes, context, progress } = work;
  const sizeBytes = header.commit * header.pageSize;
  // The two need not wait for each other, but the file must not be closed before both have ended.
  const [read, synced] = await Promise.allSettled([
    readBack(staged, {
      hashes,
      pageSize: header.pageSize,
      pageCount: header.commit,
      signal: context.signal,
      onBytes: progress.start('verify', sizeBytes),
    }),
    staged.sync(),
  ]);
  if (read.status === 'rejected') throw read.reason;
  if (synced.status === 'rejected') throw synced.reason;
  const { databaseChecksum } = hashes;
  if (databaseChecksum !== (staged.checksum | CHECKSUM_FLAG)) throw notReadBack(staged.path);
  const { fileChecksum } = lastEnds.trailer;
  if (header.databaseChecksum === 0n) return { header, fileChecksum, proof: 'file-checksums' };
  if (databaseChecksum !== header.databaseChecksum) throw checksumMismatch(lastFile);
  return { header, fileChecksum, proof: 'database-checksum' };
}

interface Placing extends RebuildOptions {
  readonly header: LtxHeader;
  readonly lastFile: LtxFileInfo;
  readonly lastEnds: FileEnds;
}

/**
 * Places the newest version of every page, and reads nothing else: one window of pages after the other, so that a database
 * of any size takes the same memory. Proves no more than that the pages can be decoded.
 */
async function placeExactly(work: Placing): Promise<void> {
  const { plan, header, context, staged, windowPages, progress } = work;
  const { pageSize, commit } = header;
  const map = new PageMap(Math.min(commit, windowPages));
  const files: MappedFile[] = plan.files.map((file) => ({ file, index: undefined, whole: undefined }));
  const prefetch = prefetchOptions(work);
  const onPages = progress.start('fetch', commit * pageSize);
  for (let first = 1; first <= commit; first += windowPages) {
    map.moveTo(first, Math.min(windowPages, commit - first + 1));
    await mapFiles(work, map, files);
    const missing = map.missing(lockPageNumber(pageSize), MAX_NAMED_PAGES + 1);
    if (missing.length > 0) throw pagesMissing(missing, plan);
    map.sort(files.length);
    await fetchPages({ files, map, pageSize, staged, context, prefetch, onPages });
  }
}

/** Reads into the map what the page indexes of all planned files say about its pages; the last window checks them to their ends. */
async function mapFiles(work: Placing, map: PageMap, files: MappedFile[]): Promise<void> {
  const { context, header, lastFile, lastEnds, parallelism } = work;
  const isLast = map.lastPgno === header.commit;
  let change: PageSizeChange | undefined;
  let keptBytes = files.reduce((sum, { whole }) => sum + (whole?.length ?? 0), 0);
  await forEachLimited(files, parallelism, async (mapped, number) => {
    const { file } = mapped;
    if (!mapped.index) {
      const ends = file === lastFile ? lastEnds : await readEnds(context, file);
      if (ends.header.pageSize !== header.pageSize) {
        if (!change || change.number < number) change = new PageSizeChange(number, ends.header, file, header, lastFile);
        return;
      }
      const { index, whole } = await openFile(context, file, ends, (pgno, offset, length) => {
        map.claim(number, pgno, offset, length);
      });
      mapped.index = index;
      if (whole && keptBytes + whole.length <= KEPT_FILES_BYTES) {
        keptBytes += whole.length;
        mapped.whole = whole;
      }
    }
    await mapped.index.read(isLast ? undefined : map.lastPgno);
    if (!mapped.whole) mapped.index.release();
  });
  if (change) throw change;
}

/** Places the newest version of every page from files that are read and proven whole, the newest first. */
async function placeFromWholeFiles(work: Placing): Promise<void> {
  const { plan, header, lastFile, staged, context, progress } = work;
  // One bit a page.
  const placed = new Uint8Array(Math.ceil((header.commit + 1) / 8));
  const isPlaced = (pgno: number): boolean => ((placed[pgno >>> 3] ?? 0) & (1 << (pgno & 7))) !== 0;
  const isNewest = (pgno: number): boolean => {
    if (pgno > header.commit || isPlaced(pgno)) return false;
    placed[pgno >>> 3] = (placed[pgno >>> 3] ?? 0) | (1 << (pgno & 7));
    return true;
  };
  await readWholeFiles({
    files: plan.files,
    context,
    prefetch: prefetchOptions(work),
    onHeader: (fileHeader, file) => {
      if (fileHeader.pageSize === header.pageSize) return;
      throw new PageSizeChange(plan.files.indexOf(file), fileHeader, file, header, lastFile);
    },
    onPages: (batch, count) => staged.place(batch, count, isNewest),
    onRange: progress.start('fetch', storedBytes(plan)),
  });
  const lockPage = lockPageNumber(header.pageSize);
  if (staged.placed === imagePageCount(header.commit, header.pageSize)) return;
  const missing: number[] = [];
  for (let pgno = 1; pgno <= header.commit && missing.length <= MAX_NAMED_PAGES; pgno++) {
    if (pgno !== lockPage && !isPlaced(pgno)) missing.push(pgno);
  }
  throw pagesMissing(missing, plan);
}

/** Proves every file by itself: throws for the first damaged one, and returns when none is. */
async function findDamage(work: RebuildOptions): Promise<void> {
  const { plan, context, progress } = work;
  await readWholeFiles({
    files: plan.files,
    context,
    prefetch: prefetchOptions(work),
    onHeader: () => undefined,
    onPages: () => undefined,
    onRange: progress.start('fetch', storedBytes(plan)),
  });
}

function prefetchOptions({ parallelism, plan, context }: RebuildOptions): PrefetchOptions {
  const share = Math.floor(FETCH_MEMORY_BYTES / (parallelism + 1));
  // Less for a small database: many may be restored at a time.
  return {
    depth: parallelism,
    bufferBytes: Math.min(MAX_RANGE_BYTES, share, storedBytes(plan)),
    signal: context.signal,
  };
}

function storedBytes(plan: RestorePlan): number {
  return plan.files.reduce((sum, file) => sum + file.sizeBytes, 0);
}

/** A header says how much memory and disk is needed. Before it is believed: could its database come from these files at all? */
function checkCommit(header: LtxHeader, file: LtxFileInfo, plan: RestorePlan): void {
  const stored = storedBytes(plan);
  if (imagePageCount(header.commit, header.pageSize) * MIN_STORED_PAGE_BYTES <= stored) return;
  const what = `commit: ${header.commit} pages cannot come from files of ${stored} bytes together`;
  throw new DamagedFile(file, new LtxError('header', what));
}

function pagesMissing(pages: readonly number[], plan: RestorePlan): RivuletError {
  const named = pages.slice(0, MAX_NAMED_PAGES).join(', ');
  return new RivuletError({
    code: 'PAGES_MISSING',
    message: `page ${named}${pages.length > MAX_NAMED_PAGES ? ' and more' : ''}: in none of the ${plan.files.length} files`,
    kept: 'nothing was changed',
    next: 'restore another state with -txid',
  });
}

function checksumMismatch(file: LtxFileInfo): RivuletError {
  return new RivuletError({
    code: 'DATABASE_CHECKSUM_MISMATCH',
    message: `${file.key}: each file of this replica is whole, but together they do not make the database that it states`,
    kept: 'nothing was changed',
    next: 'two writers may have used this replica: restore an earlier state with -txid',
  });
}
