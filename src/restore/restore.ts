import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFoldersDurably } from '../base/durable-file.ts';
import { hasCode, messageOf, RivuletError } from '../base/errors.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import { type Checksum, checksum, formatTxid, type Txid } from '../base/types.ts';
import { notBuilt } from '../config/not-built.ts';
import { formatLtxName, MIN_FILE_SIZE, TRAILER_SIZE } from '../ltx/format.ts';
import { readTrailer } from '../ltx/page-index.ts';
import { type Identity, readIdentity } from '../replica/identity.ts';
import {
  type LocalPosition,
  metaPathFor,
  saveRestoredState,
  setSpoolAside,
  spoolPathFor,
} from '../replica/local-state.ts';
import { lockOwner, type OwnerLock } from '../replica/owner-lock.ts';
import { PageHashes } from '../replica/page-hashes.ts';
import { planRestore, type RestorePlan } from '../replica/plan.ts';
import { type LtxFileInfo, newest, type Replica } from '../replica/replica.ts';
import { isStoreError } from '../store/store.ts';
import { removeAbandoned } from './abandoned.ts';
import { DamagedFile, damagedFileError } from './damage.ts';
import { excludeOthers } from './in-use.ts';
import { checkIntegrity, type IntegrityCheck } from './integrity-check.ts';
import { Progress, type RestoreProgress } from './progress.ts';
import { type ReadContext, readRange } from './range-reader.ts';
import { MAX_PARALLELISM, type Proof, type Rebuilt, rebuild } from './rebuild.ts';
import { StagedDatabase } from './staged-database.ts';
import { swapIn } from './swap.ts';
import { asOutputError, inspectTarget, type Target } from './target.ts';

/** How often a restore lists and plans: once, and again when planned files were gone (retention goes on meanwhile). */
export const MAX_PLANS = 4;
/** Where Litestream 0.3 keeps everything that it stores. */
const LITESTREAM_03_PREFIX = 'generations/';
const NO_LOCK: OwnerLock = { [Symbol.dispose]() {} };
const DEFAULT_PARALLELISM = 8;
const DEFAULT_WINDOW_PAGES = 1024 * 1024;

export interface RestoreOptions {
  /** Where the database goes. Missing parent folders are made. */
  readonly outputPath: string;
  /** The state right after this TXID; default: the newest. */
  readonly txid?: bigint | undefined;
  /** Moves what is at `outputPath` aside, with its sidecars, instead of refusing. */
  readonly force?: boolean | undefined;
  /** What SQLite itself checks before the database is put in its place; default `none`. */
  readonly integrityCheck?: IntegrityCheck | undefined;
  /** Requests to the store at a time, 1 to 64; default 8. */
  readonly parallelism?: number | undefined;
  /** Pages that are looked up at a time, at 20 bytes of memory each; default 1,048,576. */
  readonly windowPages?: number | undefined;
  /** Rivulet's folder for this database; default `<dir>/.<file>-rivulet`. */
  readonly metaPath?: string | undefined;
  /** A listing of the replica that was asked for already; default: it is listed once the target is looked at. */
  readonly listing?: Promise<LtxFileInfo[]> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
  /** Told what is going to be fetched: once, and again when it had to be planned anew. */
  readonly onPlan?: ((plan: RestorePlan) => void) | undefined;
}

export interface RestoreResult {
  /** Absolute, symbolic links followed. */
  readonly outputPath: string;
  readonly txid: Txid;
  /** Bytes a page. */
  readonly pageSize: number;
  readonly pageCount: number;
  readonly sizeBytes: number;
  readonly durationMs: number;
  /** Bytes read from the store. */
  readonly fetchedBytes: number;
  /** What was at `outputPath`, under its new names. */
  readonly movedAside: readonly string[];
  /** Where commits are that were captured on this machine and never stored: they are not part of the result. */
  readonly keptSpool: string | undefined;
  readonly proof: Proof;
  /** The files that the database was made from, in order. */
  readonly files: readonly LtxFileInfo[];
}

/**
 * Restores a database from its replica. What is at `outputPath` stays untouched until the new database is complete, proven
 * and durable; then it is swapped in. Any failure leaves everything as it was.
 *
 * Throws a {@link RivuletError}: REPLICA_EMPTY, REPLICA_FILES_MISSING, REPLICA_GAP, REPLICA_FILE_DAMAGED, REPLICA_FILE_MISSING, TXID_NOT_AVAILABLE,
 * PAGE_SIZE_MISMATCH, PAGES_MISSING, DATABASE_CHECKSUM_MISMATCH, INTEGRITY_CHECK_FAILED, OUTPUT_EXISTS, OUTPUT_NOT_A_FILE,
 * OUTPUT_NOT_WRITABLE, OUTPUT_NOT_DURABLE, DATABASE_IN_USE, DATABASE_UNDER_CAPTURE, DISK_FULL, READ_BACK_DIFFERS, or the store's own; the
 * signal's reason when it was aborted.
 */
export async function restoreDatabase(replica: Replica, options: RestoreOptions): Promise<RestoreResult> {
  try {
    return await new Restore(replica, options).run();
  } catch (error) {
    throw asOutputError(error, options.outputPath);
  }
}

/** What a replica was found to hold, and the database that was made from it. */
interface Restored {
  readonly listing: readonly LtxFileInfo[];
  readonly plan: RestorePlan;
  readonly rebuilt: Rebuilt;
}

class Restore {
  readonly #replica: Replica;
  readonly #options: RestoreOptions;
  readonly #signal: AbortSignal;
  readonly #logger: Logger;
  readonly #progress: Progress;
  readonly #context: ReadContext;
  #fetchedBytes = 0;

  constructor(replica: Replica, options: RestoreOptions) {
    this.#replica = replica;
    this.#options = options;
    this.#signal = options.signal ?? new AbortController().signal;
    this.#logger = options.logger ?? silentLogger;
    this.#progress = new Progress(options.onProgress);
    this.#context = {
      store: replica.store,
      signal: this.#signal,
      onBytes: (count) => {
        this.#fetchedBytes += count;
      },
    };
  }

  async run(): Promise<RestoreResult> {
    const startMs = performance.now();
    const { outputPath, force = false } = this.#options;
    this.#signal.throwIfAborted();
    // Looked at now, so that a restore that cannot end well does not begin; the swap looks again.
    const target = inspectTarget(outputPath, force);
    excludeOthers(target)[Symbol.dispose]();
    removeAbandoned(target.path, this.#logger);
    const metaPath = this.#options.metaPath ?? metaPathFor(target.path);
    using _ = this.#lockOwner(target.path, metaPath);

    // Listed before anything is made on disk: where there is no backup, not even a folder is left.
    const first = await this.#listAndPlan(this.#options.listing);
    const room = makeRoomFor(target);
    try {
      return await this.#restoreTo(target, metaPath, first, startMs);
    } catch (error) {
      room.undo();
      throw error;
    }
  }

  async #restoreTo(
    target: Target,
    metaPath: string,
    first: Omit<Restored, 'rebuilt'>,
    startMs: number,
  ): Promise<RestoreResult> {
    const { outputPath, force = false } = this.#options;
    const background = new AbortController();
    const identity = this.#readIdentity(AbortSignal.any([this.#signal, background.signal]));
    const staged = new StagedDatabase(target.path, target.owner);
    using hashes = new PageHashes(dirname(target.path));
    try {
      const restored = await this.#rebuildFrom(first, staged, hashes);
      await this.#check(staged, restored.rebuilt);
      this.#signal.throwIfAborted();
      await staged.close();
      const movedAside = swapIn(staged.path, outputPath, force);
      const keptSpool = await this.#saveState(metaPath, restored, hashes, identity);
      return this.#result(target.path, restored, movedAside, keptSpool, performance.now() - startMs);
    } finally {
      background.abort();
      await staged.discard();
    }
  }

  /** A process that waits for this database would go on with what it knew of the old one. */
  #lockOwner(path: string, metaPath: string): OwnerLock {
    if (!fs.existsSync(metaPath)) return NO_LOCK;
    try {
      return lockOwner(path, metaPath);
    } catch (error) {
      if (hasCode(error, 'ALREADY_REPLICATED', 'META_PATH_TAKEN')) throw error;
      this.#logger.log('warn', `Rivulet's folder cannot be locked`, { path: metaPath, error: messageOf(error) });
      return NO_LOCK;
    }
  }

  #list(): Promise<LtxFileInfo[]> {
    return this.#replica.listAll({ signal: this.#signal });
  }

  /** Files come and go while they are listed: what looks like a gap may be none the next time. */
  async #listAndPlan(listed = this.#list()): Promise<Omit<Restored, 'rebuilt'>> {
    const options = { txid: this.#options.txid, replicaUrl: this.#replica.store.url };
    const listing = await listed;
    try {
      return { listing, plan: planRestore(listing, options) };
    } catch (error) {
      if (hasCode(error, 'REPLICA_EMPTY')) await this.#provenEmpty();
      if (!hasCode(error, 'REPLICA_GAP')) throw error;
    }
    const again = await this.#list();
    return { listing: again, plan: planRestore(again, options) };
  }

  /**
   * An identity is written with the first file: where there is one and no file, files were lost, and "empty" is no answer. Nor
   * is it where Litestream 0.3 stored its backups.
   */
  async #provenEmpty(): Promise<void> {
    const { store } = this.#replica;
    const options = { signal: this.#signal };
    for await (const { key } of store.list(LITESTREAM_03_PREFIX, options)) {
      throw notBuilt(
        `the format of Litestream 0.3, in which ${store.url} holds a backup (${key}),`,
        'restore it with Litestream and replicate it to another path',
      );
    }
    if (!(await readIdentity(store, options))) return;
    throw new RivuletError({
      code: 'REPLICA_FILES_MISSING',
      message: `${store.url} has an identity (rivulet.json) but no LTX files: they were removed, or cannot be seen`,
      kept: 'nothing was changed',
      next: 'check the path and the permission to list it; if the files are really gone, remove rivulet.json to begin anew',
    });
  }

  async #rebuildFrom(first: Omit<Restored, 'rebuilt'>, staged: StagedDatabase, hashes: PageHashes): Promise<Restored> {
    for (let { listing, plan } = first, plans = 1; ; plans++) {
      this.#options.onPlan?.(plan);
      this.#logger.log('info', 'restoring', { txid: formatTxid(plan.txid), files: plan.files.length, plan: plans });
      try {
        return { listing, plan, rebuilt: await this.#rebuild(plan, staged, hashes) };
      } catch (error) {
        if (error instanceof DamagedFile) throw damagedFileError(error, listing, plan.txid, this.#replica.store.url);
        if (!isStoreError(error, 'not-found')) throw error;
        if (plans >= MAX_PLANS) throw this.#keepsVanishing(error);
        this.#logger.log('warn', 'a planned file is gone, planning again', { error: messageOf(error) });
      }
      ({ listing, plan } = await this.#listAndPlan());
    }
  }

  #rebuild(plan: RestorePlan, staged: StagedDatabase, hashes: PageHashes): Promise<Rebuilt> {
    const { parallelism = DEFAULT_PARALLELISM, windowPages = DEFAULT_WINDOW_PAGES } = this.#options;
    return rebuild({
      plan,
      staged,
      hashes,
      context: this.#context,
      parallelism: Math.max(1, Math.min(Math.floor(parallelism), MAX_PARALLELISM)),
      windowPages: Math.max(1, Math.floor(windowPages)),
      progress: this.#progress,
    });
  }

  #keepsVanishing(cause: Error): RivuletError {
    return new RivuletError({
      code: 'REPLICA_FILE_MISSING',
      message: `${cause.message} (listed and planned ${MAX_PLANS} times, and each time a listed file was gone)`,
      kept: 'nothing was changed',
      next: 'check whether something deletes files from this replica, and that its listing is not out of date',
      cause,
    });
  }

  async #check(staged: StagedDatabase, { header }: Rebuilt): Promise<void> {
    const { integrityCheck = 'none' } = this.#options;
    if (integrityCheck === 'none') return;
    const sizeBytes = header.commit * header.pageSize;
    const onBytes = this.#progress.start('check', sizeBytes);
    await checkIntegrity(staged, integrityCheck, this.#signal);
    onBytes(sizeBytes);
  }

  /** Asked for while the database is fetched; needed, or missed, only after that. */
  #readIdentity(signal: AbortSignal): Promise<Identity | undefined> {
    const identity = readIdentity(this.#replica.store, { signal });
    identity.catch(() => undefined);
    return identity;
  }

  /** The database is in its place: from here on nothing fails any more. Without the state replication compares and goes on. */
  async #saveState(
    metaPath: string,
    restored: Restored,
    hashes: PageHashes,
    reading: Promise<Identity | undefined>,
  ): Promise<string | undefined> {
    const { header } = restored.rebuilt;
    let keptSpool: string | undefined;
    try {
      const newestFile = await this.#newestFile(restored, metaPath);
      keptSpool = setSpoolAside(metaPath, newestFile);
      if (keptSpool !== undefined) {
        this.#logger.log('warn', 'commits that were captured and never stored are not in the replica; they are kept', {
          folder: keptSpool,
        });
      }
      const identity = await reading;
      const position: LocalPosition = {
        replicaUrl: this.#replica.store.url,
        lineage: identity?.lineage,
        txid: restored.plan.txid,
        fileChecksum: newestFile.txid === restored.plan.txid ? newestFile.fileChecksum : checksum(0n),
        pageSize: header.pageSize,
        pageCount: header.commit,
        imageTxid: restored.rebuilt.imageTxid,
        wal: undefined,
      };
      saveRestoredState(metaPath, position, hashes);
    } catch (error) {
      const message = 'restored, but what replication needs to carry on could not be saved: it will compare first';
      this.#logger.log('warn', message, { path: metaPath, error: messageOf(error) });
    }
    return keptSpool;
  }

  /**
   * Up to where the replica goes, and the checksum of the level 0 file that ends there: 0n where there is none, where it is damaged, or
   * where nobody needs it, as it is not what was restored, nor is one of its TXID in the spool.
   */
  async #newestFile(
    { listing, plan, rebuilt }: Restored,
    metaPath: string,
  ): Promise<{ readonly txid: bigint; readonly fileChecksum: Checksum }> {
    const txid = newest(listing)?.maxTxid ?? 0n;
    const unknown = { txid, fileChecksum: checksum(0n) };
    const file = newest(listing.filter(({ level }) => level === 0));
    if (file?.maxTxid !== txid) return unknown;
    if (file.key === plan.files.at(-1)?.key) return { txid, fileChecksum: rebuilt.fileChecksum };
    const isSpooled = fs.existsSync(join(spoolPathFor(metaPath), formatLtxName(txid, txid)));
    if ((txid !== plan.txid && !isSpooled) || file.sizeBytes < MIN_FILE_SIZE) return unknown;
    const bytes = new Uint8Array(TRAILER_SIZE);
    try {
      await readRange(this.#context, file.key, file.sizeBytes - TRAILER_SIZE, bytes);
      return { txid, fileChecksum: readTrailer(bytes, rebuilt.header).fileChecksum };
    } catch {
      return unknown; // the plan did without it
    }
  }

  #result(
    outputPath: string,
    restored: Restored,
    movedAside: string[],
    keptSpool: string | undefined,
    durationMs: number,
  ): RestoreResult {
    const { plan, rebuilt } = restored;
    const { pageSize, commit } = rebuilt.header;
    return {
      outputPath,
      txid: plan.txid,
      pageSize,
      pageCount: commit,
      sizeBytes: commit * pageSize,
      durationMs: Math.round(durationMs),
      fetchedBytes: this.#fetchedBytes,
      movedAside,
      keptSpool,
      proof: rebuilt.proof,
      files: rebuilt.files,
    };
  }
}

/** Makes the target's folder. `undo` removes what was made for it, unless something lies there. */
function makeRoomFor(target: Target): { undo(): void } {
  const made = makeFoldersDurably(dirname(target.path));
  return {
    undo: () => {
      try {
        for (const path of made) fs.rmdirSync(path);
      } catch {
        // Not empty: it has become somebody's.
      }
    },
  };
}
