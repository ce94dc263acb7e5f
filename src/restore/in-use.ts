import { linkSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type FileIdentity, identify, sameFile } from '../base/database-files.ts';
import { stagingPath } from '../base/durable-file.ts';
import { RivuletError } from '../base/errors.ts';
import { isBusy } from '../sqlite/sqlite-error.ts';
import { SIDECAR_SUFFIXES, type Target } from './target.ts';

/** Most processes named in an error. */
const MAX_NAMED = 5;

/** Keeps every other SQLite connection out of a database until it is disposed of. */
export interface Exclusion {
  [Symbol.dispose](): void;
}

const NO_EXCLUSION: Exclusion = { [Symbol.dispose]() {} };

/**
 * Refuses when any process has the target's files open, as far as can be seen from here, and keeps it that way until the
 * exclusion is disposed of. Two looks complete each other: open descriptors (Linux; also of connections that hold no lock
 * now, but not of other users' processes or other containers) and SQLite's own locks (everywhere that shares the file).
 */
export function excludeOthers(target: Target): Exclusion {
  const paths = [target.path, ...target.sidecars.map((suffix) => target.path + suffix)];
  // Our own descriptors are looked at before the lock opens some; those of others after it, when none can start to read.
  refuseHolders(target, holdersOf(paths, ['self']));
  const lock = target.existing === 'none' ? NO_EXCLUSION : lockExclusively(target.path);
  try {
    refuseHolders(target, holdersOf(paths, otherProcesses()));
    if (lock === 'busy') throw inUse(target.path, 'a connection that cannot be seen from here holds a lock on it');
    return lock;
  } catch (error) {
    if (lock !== 'busy') lock[Symbol.dispose]();
    throw error;
  }
}

/**
 * SQLite's exclusive lock, through a second name of the file: locks belong to the file, but sidecars to the name. So a
 * database in use is noticed, while neither its WAL is checkpointed nor its journal rolled back by our closing or opening it.
 */
function lockExclusively(path: string): Exclusion | 'busy' {
  const alias = stagingPath(path);
  const removeAlias = (): void => {
    for (const suffix of ['', ...SIDECAR_SUFFIXES]) rmSync(alias + suffix, { force: true });
  };
  try {
    linkSync(path, alias);
  } catch {
    return NO_EXCLUSION; // no second names here: the descriptors must do
  }
  let connection: DatabaseSync | undefined;
  const release = (): void => {
    try {
      connection?.close();
    } finally {
      removeAlias();
    }
  };
  try {
    connection = new DatabaseSync(alias, { timeout: 0 });
    // Before the first access, so that a WAL database is locked as a whole, its idle readers included.
    connection.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return { [Symbol.dispose]: release };
  } catch (error) {
    release();
    return isBusy(error) ? 'busy' : NO_EXCLUSION; // what is no database has no locks of SQLite's
  }
}

/** The processes of `/proc` (Linux; empty elsewhere) but this one. */
function otherProcesses(): string[] {
  return list('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
}

/** Those of `pids` that have one of `paths` open. Processes that may not be looked into are passed over. */
function holdersOf(paths: readonly string[], pids: readonly string[]): string[] {
  const files = paths.map(identify).filter((file) => file !== undefined);
  return files.length === 0 ? [] : pids.filter((pid) => hasOpen(pid, files));
}

function hasOpen(pid: string, files: readonly FileIdentity[]): boolean {
  return list(`/proc/${pid}/fd`).some((fd) => {
    const open = identifyQuietly(`/proc/${pid}/fd/${fd}`);
    return files.some((file) => sameFile(file, open));
  });
}

function identifyQuietly(path: string): FileIdentity | undefined {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat?.isFile() ? { device: stat.dev, inode: stat.ino } : undefined;
  } catch {
    return undefined;
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function refuseHolders(target: Target, pids: readonly string[]): void {
  if (pids.length === 0) return;
  const names = pids.slice(0, MAX_NAMED).map(describeProcess);
  const more = pids.length > MAX_NAMED ? ` and ${pids.length - MAX_NAMED} more` : '';
  throw inUse(target.path, `open in ${names.join(', ')}${more}`);
}

function describeProcess(pid: string): string {
  if (pid === 'self') return 'this very process';
  try {
    return `process ${pid} (${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`;
  } catch {
    return `process ${pid}`;
  }
}

function inUse(path: string, how: string): RivuletError {
  return new RivuletError({
    code: 'DATABASE_IN_USE',
    message: `${path} is in use: ${how}`,
    kept: 'nothing was changed',
    next: 'stop whatever uses it and type the same command again, or restore to another path with -o',
  });
}
