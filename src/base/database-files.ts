import * as fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { hasCode, RivuletError } from './errors.ts';

/*
 * Closing any descriptor of a file drops every fcntl lock that the process holds on it, SQLite's included. So a database
 * (and its -shm) that is under capture is opened by its capture alone, once, and by nobody else in this process, worker
 * threads included. This register is how the others know: a table of (device, inode) pairs in shared memory.
 *
 * Every open of a database file outside of SQLite goes through this module; scripts/check-imports.ts forbids it elsewhere.
 */

/** How many databases one process can capture. */
export const MAX_CAPTURED_DATABASES = 16_384;

const WORDS_PER_ENTRY = 2;
let table: BigUint64Array = new BigUint64Array(new SharedArrayBuffer(MAX_CAPTURED_DATABASES * WORDS_PER_ENTRY * 8));

/** The register's memory: hand it to every worker thread, and {@link joinRegister} there before anything is opened. */
export function registerMemory(): ArrayBufferLike {
  return table.buffer;
}

/** In a worker thread: use the register of the thread that started it. */
export function joinRegister(memory: ArrayBufferLike): void {
  table = new BigUint64Array(memory);
}

function entryOf(identity: FileIdentity): number {
  for (let i = 0; i < table.length; i += WORDS_PER_ENTRY) {
    if (table[i + 1] === identity.inode && table[i] === identity.device) return i;
  }
  return -1;
}

/** What makes a file itself, whatever its name. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** The identity of the file at `path`, following symlinks; undefined where there is none. */
export function identify(path: string): FileIdentity | undefined {
  const stat = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && { device: stat.dev, inode: stat.ino };
}

/** The identity of an open file. */
export function identifyOpen(fd: number): FileIdentity {
  const stat = fs.fstatSync(fd, { bigint: true });
  return { device: stat.dev, inode: stat.ino };
}

/** A name of an open file that survives restarts: devices are numbered anew, inodes are used again. */
export function fileNameOfOpen(fd: number): string {
  const { ino, birthtimeNs } = fs.fstatSync(fd, { bigint: true });
  return `${ino}-${birthtimeNs}`;
}

/** Files that change twice within so many ms can be told apart: on most file systems, and on those that count in seconds. */
const CLOCK_MS = { fine: 25, coarse: 2500 } as const;

/**
 * Names the content of an open file: it has another name once somebody wrote to it, by whatever means, or changed its rights. Undefined
 * right after a change, when one more would not show.
 */
export function versionOfOpen(fd: number): string | undefined {
  return versionOf(fs.fstatSync(fd, { bigint: true }));
}

/** The same, of what `fstat` says. */
export function versionOf({ ctimeNs, ctimeMs, size }: fs.BigIntStats): string | undefined {
  const clockMs = ctimeNs % 1_000_000_000n === 0n ? CLOCK_MS.coarse : CLOCK_MS.fine;
  return Date.now() - Number(ctimeMs) > clockMs ? `${ctimeNs} ${size}` : undefined;
}

/** Bytes in an open file. */
export function sizeOfOpen(fd: number): number {
  return fs.fstatSync(fd).size;
}

/** When an open file was last written to, ms since 1970. */
export function modifiedMsOfOpen(fd: number): number {
  return fs.fstatSync(fd).mtimeMs;
}

/** Changes whenever an open file is written to or resized, as finely as the file system's clock tells. */
export function stampOfOpen(fd: number): string {
  const { mtimeNs, size } = fs.fstatSync(fd, { bigint: true });
  return `${mtimeNs} ${size}`;
}

export function sameFile(a: FileIdentity | undefined, b: FileIdentity | undefined): boolean {
  return a !== undefined && b !== undefined && a.device === b.device && a.inode === b.inode;
}

/** Most symbolic links that are followed for one path, as in Linux. */
const MAX_LINKS = 40;

/**
 * The file that a chain of symbolic links ends at, whether it exists or not. SQLite's sidecars, and Rivulet's folder, lie
 * beside that one.
 */
export function resolveDatabasePath(typed: string): string {
  let path = resolve(typed);
  for (let i = 0; i < MAX_LINKS; i++) {
    try {
      path = resolve(dirname(path), fs.readlinkSync(path));
    } catch (error) {
      if (hasCode(error, 'EINVAL', 'ENOENT', 'ENOTDIR', 'UNKNOWN')) return realFolder(path);
      throw error;
    }
  }
  throw new RivuletError({
    code: 'PATH_CIRCULAR',
    message: `${typed} is a symbolic link that leads in a circle`,
  });
}

function realFolder(path: string): string {
  try {
    return join(fs.realpathSync(dirname(path)), path.slice(dirname(path).length));
  } catch {
    return path; // the folder is yet to be made
  }
}

/** A path with the symbolic links in it followed, as far as it exists. */
export function realPath(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}

/** True while a capture in this process holds the database at `path`. */
export function isUnderCapture(path: string): boolean {
  const identity = identify(path);
  return identity !== undefined && entryOf(identity) >= 0;
}

/** Takes the database at `path` for a capture. Throws DATABASE_UNDER_CAPTURE when this process has one already. */
export function claimDatabase(path: string): FileIdentity {
  const identity = identify(path);
  if (!identity) throw new RivuletError({ code: 'DATABASE_MISSING', message: `there is no database at ${path}` });
  refuseCaptured(path);
  for (let i = 0; i < table.length; i += WORDS_PER_ENTRY) {
    // The inode word is the claim (0n is no inode); the device follows, so a reader never matches half an entry of ours.
    if (Atomics.compareExchange(table, i + 1, 0n, identity.inode) === 0n) {
      Atomics.store(table, i, identity.device);
      return identity;
    }
  }
  throw new RivuletError({
    code: 'TOO_MANY_DATABASES',
    message: `one process captures at most ${MAX_CAPTURED_DATABASES} databases`,
    next: 'start a second process for the rest',
  });
}

/** Gives a claim back, after the capture's last descriptor and connection are closed. */
export function releaseDatabase(identity: FileIdentity): void {
  const entry = entryOf(identity);
  if (entry < 0) return;
  Atomics.store(table, entry, 0n);
  Atomics.store(table, entry + 1, 0n);
}

function refuseCaptured(path: string): void {
  if (isUnderCapture(path)) {
    throw new RivuletError({
      code: 'DATABASE_UNDER_CAPTURE',
      message: `${path} is being replicated by this process; opening it a second time would drop its locks`,
      kept: 'the database and its replication go on untouched',
      next: 'run this command in a process of its own',
    });
  }
}

/** Opens a database file, its -wal or its -shm for the capture that claimed it. {@link closeForCapture} it last. */
export function openForCapture(path: string): number {
  return fs.openSync(path, 'r');
}

/** Closes what {@link openForCapture} gave, after every connection of the capture is closed: this drops their locks. */
export function closeForCapture(fd: number): void {
  fs.closeSync(fd);
}

/** Runs `work` on a descriptor of a database file that nobody in this process captures, and closes it. */
export function withDatabaseFile<T>(path: string, work: (fd: number) => T): T {
  refuseCaptured(path);
  // Non-blocking: opening a FIFO would wait for its writer.
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    if (!fs.fstatSync(fd).isFile()) {
      throw new RivuletError({
        code: 'NOT_A_DATABASE',
        message: `${path} is not a regular file, so it is no database`,
        next: 'check the path',
      });
    }
    return work(fd);
  } finally {
    fs.closeSync(fd);
  }
}
