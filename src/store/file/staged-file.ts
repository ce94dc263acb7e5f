import type { Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { fileSeconds } from '../../base/durable-file.ts';
import { hasCode } from '../../base/errors.ts';
import { type PutBody, StoreError } from '../store.ts';

/** Names of staged files, as {@link stagingPath} of base/durable-file.ts makes them. */
const STAGED_NAME = /\.\d+-[0-9a-f]{8}\.tmp$/;
/** A put that has not touched its staged file for this long is dead. */
const ABANDONED_AFTER_MS = 3_600_000;
/** How much is written between two looks at the abort signal. */
const WRITE_CHUNK_BYTES = 4 << 20;

/** Answers of a file system that has no hard links, none to this file, or none left for it. */
const NO_HARD_LINK_CODES = ['EPERM', 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'] as const;

/** What is known of an object's file before it becomes visible. */
export interface StagedFile {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export interface StagingOptions {
  readonly mode: number;
  readonly timestampMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Puts `body` into a new file at `staged`, whole and fsynced. The caller removes `staged` when this fails. */
export async function stage(staged: string, body: PutBody, options: StagingOptions): Promise<StagedFile> {
  if ('file' in body) return stageFile(staged, body.file, body.sizeBytes, options);
  const handle = await fs.open(staged, 'wx', options.mode);
  try {
    await writeAll(handle, body.bytes, options.signal);
    return await finish(handle, options);
  } finally {
    await handle.close();
  }
}

async function stageFile(
  staged: string,
  source: string,
  sizeBytes: number,
  options: StagingOptions,
): Promise<StagedFile> {
  const stat = await statSource(source, sizeBytes);
  options.signal?.throwIfAborted();
  const linked = isLinkable(stat, options.mode) && (await linkIfPossible(source, staged));
  if (!linked) await fs.copyFile(source, staged, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
  const handle = await fs.open(staged, 'r');
  try {
    const done = await finish(handle, options).catch((error: unknown) => {
      throw linked && hasCode(error, 'EIO') ? notDurable(source, error) : error;
    });
    if (done.sizeBytes !== sizeBytes) throw changed(source, sizeBytes, done.sizeBytes);
    return done;
  } finally {
    await handle.close();
  }
}

/**
 * Makes a durable file visible as `target` under this second name, unless something is there (EEXIST): there is nothing to stage when it
 * has the time and the rights of the object. Undefined when it has not, or cannot be linked.
 */
export async function createByLink(
  source: string,
  sizeBytes: number,
  target: string,
  options: StagingOptions,
): Promise<StagedFile | undefined> {
  const stat = await statSource(source, sizeBytes);
  const isAsWanted = isLinkable(stat, options.mode) && Math.floor(stat.mtimeMs) === options.timestampMs;
  options.signal?.throwIfAborted();
  if (!isAsWanted || !(await linkIfPossible(source, target))) return undefined;
  return { sizeBytes, modifiedMs: options.timestampMs };
}

/** A hard link shares the file's owner and access rights. Where they are not those of the store, it must be a copy. */
function isLinkable(stat: Stats, mode: number): boolean {
  return (stat.mode & 0o777) === mode && stat.uid === process.geteuid?.();
}

/** What the file that is to be stored is like, after making sure that it is what the caller says. */
async function statSource(source: string, sizeBytes: number): Promise<Stats> {
  const stat = await fs.stat(source).catch((error: unknown) => {
    // Not `not-found`: that would speak of an object of the store.
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new StoreError('permanent', { message: `the file to be stored, ${source}, is gone`, cause: error });
  });
  if (!stat.isFile()) throw new StoreError('permanent', { message: `what is to be stored, ${source}, is not a file` });
  if (stat.size !== sizeBytes) throw changed(source, sizeBytes, stat.size);
  return stat;
}

/** Permanent, because an fsync that is tried again on the same file succeeds without having written anything. */
function notDurable(source: string, cause: unknown): StoreError {
  return new StoreError('permanent', {
    message: `the file to be stored, ${source}, could not be made durable: the disk reported an I/O error (EIO)`,
    next: 'write that file again, on a disk that works',
    cause,
  });
}

function changed(source: string, expectedBytes: number, actualBytes: number): StoreError {
  return new StoreError('permanent', {
    message: `the file to be stored, ${source}, has ${actualBytes} bytes where ${expectedBytes} were announced`,
    kept: 'nothing of it was stored',
  });
}

async function linkIfPossible(source: string, staged: string): Promise<boolean> {
  try {
    await fs.link(source, staged);
    return true;
  } catch (error) {
    if (hasCode(error, ...NO_HARD_LINK_CODES)) return false;
    throw error;
  }
}

async function writeAll(handle: fs.FileHandle, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    signal?.throwIfAborted();
    const length = Math.min(bytes.length - done, WRITE_CHUNK_BYTES);
    done += (await handle.write(bytes, done, length, done)).bytesWritten;
  }
}

/** Sets the file's time and rights before the fsync, so that they become durable with it. */
async function finish(handle: fs.FileHandle, options: StagingOptions): Promise<StagedFile> {
  if (options.timestampMs !== undefined) {
    const seconds = fileSeconds(options.timestampMs);
    await handle.utimes(seconds, seconds);
  }
  const stat = await handle.stat();
  if ((stat.mode & 0o777) !== options.mode) await setMode(handle, options.mode);
  await handle.sync();
  return { sizeBytes: stat.size, modifiedMs: Math.round(stat.mtimeMs) };
}

async function setMode(handle: fs.FileHandle, mode: number): Promise<void> {
  await handle.chmod(mode).catch((error: unknown) => {
    // The file is ours, so this is a file system (FAT, some mounts) that has no access rights to set.
    if (!hasCode(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) throw error;
  });
}

/** Removes a staged file that is of no use any more. What cannot be removed now is left to a later {@link sweep}. */
export async function discard(staged: string): Promise<void> {
  await fs.unlink(staged).catch(() => undefined);
}

/** Makes `staged` visible as `target`, in place of what is there. */
export async function replace(staged: string, target: string): Promise<void> {
  await fs.rename(staged, target);
  // rename does nothing when both are links to one file: the same file was stored once more.
  await discard(staged);
}

/**
 * Makes `staged` visible as `target` unless something is there (EEXIST). link(2) does that in one step.
 *
 * A file system without hard links has no such step that Node could ask for. There an empty file, created exclusively,
 * claims the name, and the staged file is renamed over it: still only one creator wins, and no reader ever sees a part of
 * the object; but between the two steps, and after a crash just then, the object is there and empty.
 */
export async function create(staged: string, target: string, link: typeof fs.link = fs.link): Promise<void> {
  try {
    await link(staged, target);
  } catch (error) {
    if (!hasCode(error, ...NO_HARD_LINK_CODES)) throw error;
    return claimAndReplace(staged, target);
  }
  await discard(staged);
}

async function claimAndReplace(staged: string, target: string): Promise<void> {
  const claim = await fs.open(target, 'wx', 0o600);
  await claim.close();
  try {
    await fs.rename(staged, target);
  } catch (error) {
    // What another writer has put there meanwhile is not ours to remove.
    const stat = await fs.stat(target).catch(() => undefined);
    if (stat?.size === 0) await fs.rm(target, { force: true });
    throw error;
  }
}

/** Removes what puts that died have left in `folder`. */
export async function sweep(folder: string): Promise<void> {
  const names = await fs.readdir(folder);
  for (const name of names) {
    if (!STAGED_NAME.test(name)) continue;
    const path = join(folder, name);
    const stat = await fs.lstat(path);
    // ctime: the mtime of a staged file may already be the time of its data.
    if (stat.isFile() && Date.now() - stat.ctimeMs > ABANDONED_AFTER_MS) await fs.rm(path, { force: true });
  }
}
