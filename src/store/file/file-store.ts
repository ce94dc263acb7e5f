import type { BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { forEachLimited } from '../../base/async.ts';
import { stagingPath } from '../../base/durable-file.ts';
import { hasCode } from '../../base/errors.ts';
import { checkKey, checkPrefix, InvalidKeyError } from '../object-key.ts';
import {
  type DeleteResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  type Store,
  StoreError,
} from '../store.ts';
import { confirmAbsent, saysAbsent, unlessAbsent } from './absence.ts';
import { DurableFolders, fsyncFolder } from './durable-folders.ts';
import { type FailedAction, fileError } from './file-errors.ts';
import { listObjects, planListing, STAGING_SUFFIX } from './file-listing.ts';
import { FileReader } from './file-reader.ts';
import { create, createByLink, discard, replace, type StagedFile, stage, sweep } from './staged-file.ts';

/** How many files of one delete are removed in parallel. */
const DELETE_CONCURRENCY = 16;

export interface FileStoreOptions {
  /** The folder that holds the objects. It is created by the first put. */
  readonly root: string;
  /** Access rights of objects; default 0600, as Litestream's. */
  readonly fileMode?: number | undefined;
  /** Access rights of new folders; default 0700, as Litestream's; less the umask. */
  readonly folderMode?: number | undefined;
}

/**
 * Objects as files below a folder, each at the path that its key says.
 *
 * A put goes to `<name>.<unique>.tmp` beside its target, is fsynced, and becomes visible by one rename (or link); then the
 * folder is fsynced. Keys that end with `.tmp` are therefore refused. A file that already is as the object has to be is linked to
 * its target at once. An object's file is never changed once it is visible,
 * so a reader that has it open goes on reading the object it opened, also when that is replaced or deleted.
 *
 * A `{ file }` body on the same disk is hard-linked when it belongs to us with the store's access rights, else copied. A
 * linked one must not be changed in place afterwards; its mtime becomes that of the object.
 */
export class FileStore implements Store {
  readonly url: string;
  readonly #root: string;
  readonly #fileMode: number;
  readonly #folders: DurableFolders;
  readonly #swept = new Set<string>();

  constructor(options: FileStoreOptions) {
    this.#root = resolve(options.root);
    this.#fileMode = options.fileMode ?? 0o600;
    this.#folders = new DurableFolders(this.#root, options.folderMode ?? 0o700);
    this.url = pathToFileURL(this.#root).href;
  }

  /** Links and renames of one file system decide. */
  async conditionalWrites(): Promise<boolean> {
    return true;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    const listing = planListing(this.#root, prefix, options.startAfter, options.signal);
    if (!listing) return;
    try {
      yield* listObjects(listing);
    } catch (error) {
      const path = pathIn(error) ?? join(this.#root, prefix);
      throw this.#failure(error, 'list', path, options.signal);
    }
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const path = this.#pathOf(key);
    checkRange(options);
    try {
      options.signal?.throwIfAborted();
      // Non-blocking: else opening a FIFO that lies around would wait for its writer.
      const handle = await fs.open(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
      try {
        const version = versionOf(await requireFile(handle, path));
        if (options.version !== undefined && options.version !== version) throw replaced(path);
        return new FileReader(handle, version, options, { action: 'read', path, root: this.#root });
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      if (!saysAbsent(error)) throw this.#failure(error, 'read', path, options.signal);
      throw await this.#absence(error, path);
    }
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const path = this.#pathOf(key);
    const { signal } = options;
    try {
      signal?.throwIfAborted();
      return await this.#store(key, path, body, options);
    } catch (error) {
      if (hasCode(error, 'ENOENT') && !(await unlessAbsent(fs.stat(dirname(path)))))
        throw vanished(dirname(path), error);
      if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EEXIST')) throw await this.#noFolder(error, path);
      throw this.#failure(error, 'store', path, signal);
    }
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    const errors = new Map<string, StoreError>();
    const changed = new Map<string, string[]>();
    await forEachLimited([...new Set(keys)], DELETE_CONCURRENCY, async (key) => {
      options.signal?.throwIfAborted();
      try {
        const folder = await this.#deleteOne(key);
        if (folder !== undefined) changed.set(folder, [...(changed.get(folder) ?? []), key]);
      } catch (error) {
        errors.set(key, fileError(error, { action: 'delete', path: join(this.#root, key), root: this.#root }));
      }
    });
    for (const [folder, keysInFolder] of changed) {
      await fsyncFolder(folder).catch((error: unknown) => {
        if (saysAbsent(error)) return; // gone with all that was in it
        const failure = fileError(error, { action: 'delete', path: folder, root: this.#root });
        for (const key of keysInFolder) errors.set(key, failure);
      });
    }
    return keys.map((key) => ({ key, error: errors.get(key) }));
  }

  async close(): Promise<void> {}

  #pathOf(key: string): string {
    checkKey(key);
    if (key.endsWith(STAGING_SUFFIX)) {
      throw new InvalidKeyError(key, `names that end with "${STAGING_SUFFIX}" are those of files being written`);
    }
    return join(this.#root, key);
  }

  /** One attempt of a put: publish, make durable. */
  async #store(key: string, path: string, body: PutBody, options: PutOptions): Promise<ObjectInfo> {
    const folder = dirname(path);
    await this.#folders.prepare(folder);
    await this.#sweepOnce(folder);
    const done = (await this.#link(path, body, options)) ?? (await this.#stageAndPublish(path, body, options));
    // Only now: before this fsync a power loss could still take the new name back.
    await fsyncFolder(folder);
    return { key, ...done };
  }

  async #link(
    path: string,
    body: PutBody,
    { ifAbsent, timestampMs, signal }: PutOptions,
  ): Promise<StagedFile | undefined> {
    if (!ifAbsent || !('file' in body)) return undefined;
    const options = { mode: this.#fileMode, timestampMs, signal };
    return this.#creating(path, () => createByLink(body.file, body.sizeBytes, path, options));
  }

  async #stageAndPublish(
    path: string,
    body: PutBody,
    { ifAbsent, timestampMs, signal }: PutOptions,
  ): Promise<StagedFile> {
    const staged = stagingPath(path);
    try {
      const done = await stage(staged, body, { mode: this.#fileMode, timestampMs, signal });
      signal?.throwIfAborted();
      await (ifAbsent ? this.#creating(path, () => create(staged, path)) : replace(staged, path));
      return done;
    } catch (error) {
      await discard(staged);
      throw error;
    }
  }

  /** Says what it means that something is at `path` already. An object that is said to be there is durable. */
  async #creating<T>(path: string, create: () => Promise<T>): Promise<T> {
    try {
      return await create();
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
      const isFolder = (await fs.stat(path).catch(() => undefined))?.isDirectory() === true;
      // An earlier try may have got this far, and no further.
      if (!isFolder) await fsyncObject(path);
      throw new StoreError(isFolder ? 'permanent' : 'exists', {
        message: `cannot create ${path}: there is ${isFolder ? 'a folder of this name' : 'an object already'}`,
        kept: 'what is there was not touched',
        cause: error,
      });
    }
  }

  /** Deletes the object of `key`; returns the folder that this changed. */
  async #deleteOne(key: string): Promise<string | undefined> {
    const path = this.#pathOf(key);
    try {
      await fs.unlink(path);
      return dirname(path);
    } catch (error) {
      if (saysAbsent(error)) {
        await confirmAbsent(path, this.#root);
        return undefined;
      }
      // A folder is no object, so there was nothing to delete. The system says EISDIR, or EPERM, as POSIX has it.
      const isFolder = (await fs.lstat(path).catch(() => undefined))?.isDirectory() === true;
      if (isFolder && hasCode(error, 'EISDIR', 'EPERM')) return undefined;
      throw error;
    }
  }

  async #sweepOnce(folder: string): Promise<void> {
    if (this.#swept.has(folder)) return;
    this.#swept.add(folder);
    // Litter is no reason for a put to fail, and it is never listed.
    await sweep(folder).catch(() => undefined);
  }

  /** The error for an object that is not there, or for a store that cannot be reached. */
  async #absence(error: unknown, path: string): Promise<unknown> {
    try {
      await confirmAbsent(path, this.#root);
    } catch (unreachable) {
      return this.#failure(unreachable, 'read', path);
    }
    return fileError(error, { action: 'read', path, root: this.#root }, 'not-found');
  }

  /** The error for a put whose folder cannot be made, or does not stay. */
  async #noFolder(error: unknown, path: string): Promise<unknown> {
    try {
      await confirmAbsent(path, this.#root);
    } catch (unreachable) {
      return this.#failure(unreachable, 'store', path);
    }
    const kind = hasCode(error, 'ENOENT') ? 'transient' : 'permanent';
    return fileError(error, { action: 'store', path, root: this.#root }, kind);
  }

  #failure(error: unknown, action: FailedAction['action'], path: string, signal?: AbortSignal): unknown {
    if (signal?.aborted && error === signal.reason) return error;
    return fileError(error, { action, path, root: this.#root });
  }
}

function checkRange(options: OpenOptions): void {
  for (const value of [options.offset ?? 0, options.length ?? 0]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a range of bytes: ${value}`);
  }
}

async function requireFile(handle: fs.FileHandle, path: string): Promise<BigIntStats> {
  const stat = await handle.stat({ bigint: true });
  if (stat.isFile()) return stat;
  const isFolder = stat.isDirectory();
  throw new StoreError(isFolder ? 'not-found' : 'permanent', {
    message: `cannot read ${path}: it is ${isFolder ? 'a folder' : 'not a regular file'}, so there is no such object`,
  });
}

/** A put makes a new file each time, or gives another time to the one that is linked there. */
function versionOf({ ino, birthtimeNs, mtimeNs, size }: BigIntStats): string {
  return [ino, birthtimeNs, mtimeNs, size].join('-');
}

function replaced(path: string): StoreError {
  return new StoreError('permanent', { message: `cannot read ${path}: it was replaced while it was read` });
}

async function fsyncObject(path: string): Promise<void> {
  const handle = await fs.open(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fsyncFolder(dirname(path));
}

/** The path that a system error speaks of. */
function pathIn(error: unknown): string | undefined {
  return error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : undefined;
}

/** A folder that this store had made is gone: unmounted, or removed with all that was in it. A new one would hide that. */
function vanished(folder: string, cause: unknown): StoreError {
  return new StoreError('permanent', {
    message: `${folder} has vanished, with what was stored in it`,
    kept: 'nothing was stored into a new folder of that name, where what was stored before would be missing',
    next: 'bring the folder back (is its disk mounted?), or start again to begin anew in an empty one',
    cause,
  });
}
