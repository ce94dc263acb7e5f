import * as fs from 'node:fs';
import { join } from 'node:path';
import { isUnderCapture, resolveDatabasePath } from '../base/database-files.ts';
import { RivuletError } from '../base/errors.ts';

/** What SQLite keeps beside a database. A -wal or -journal that is found there is replayed into whatever database is. */
export const SIDECAR_SUFFIXES = ['-wal', '-shm', '-journal'] as const;

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

/** Where a restored database is to go, and what is there now. */
export interface Target {
  /** Absolute, symbolic links followed: sidecars lie beside the real file. */
  readonly path: string;
  /** `empty`: a file of no bytes, which nobody misses. */
  readonly existing: 'none' | 'empty' | 'file';
  /** Of the file that is there, if any. */
  readonly owner: FileOwner | undefined;
  /** The sidecars that are there, by their suffixes. */
  readonly sidecars: readonly string[];
}

/** True when something that was there would have to be moved aside. */
export function isOccupied(target: Target): boolean {
  return target.existing === 'file' || target.sidecars.length > 0;
}

/** Looks at where a database is to be restored to; refuses when something there must not be replaced. */
export function inspectTarget(outputPath: string, force: boolean): Target {
  const path = resolveDatabasePath(outputPath);
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat && !stat.isFile()) throw notAFile(path, stat.isDirectory());
  const sidecars = SIDECAR_SUFFIXES.filter((suffix) => fs.existsSync(path + suffix));
  if (!stat) return { path, existing: 'none', owner: undefined, sidecars };
  if (isUnderCapture(path)) throw underCapture(path);
  const existing = stat.size === 0 ? 'empty' : 'file';
  // A database of no bytes with sidecars can have all its data in them.
  if (!force && (existing === 'file' || sidecars.length > 0)) throw outputExists(path, existing, sidecars);
  const owner = { uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o777 };
  return { path, existing, owner, sidecars };
}

function notAFile(path: string, isFolder: boolean): RivuletError {
  return new RivuletError({
    code: 'OUTPUT_NOT_A_FILE',
    message: `${path} is ${isFolder ? 'a folder' : 'not a regular file'}: a database cannot be restored to it`,
    kept: 'nothing was changed',
    next: isFolder ? `name a file in it: -o ${join(path, 'app.db')}` : 'restore to another path with -o',
  });
}

function underCapture(path: string): RivuletError {
  return new RivuletError({
    code: 'DATABASE_UNDER_CAPTURE',
    message: `${path} is being replicated by this process: it cannot be replaced meanwhile`,
    kept: 'the database and its replication go on untouched',
    next: 'stop replicating it first, or restore to another path with -o',
  });
}

function outputExists(path: string, existing: 'empty' | 'file', sidecars: readonly string[]): RivuletError {
  const what =
    existing === 'file' ? 'already exists' : `is empty, but ${sidecars.map((s) => path + s).join(', ')} may not be`;
  return new RivuletError({
    code: 'OUTPUT_EXISTS',
    message: `${path} ${what}`,
    kept: 'it was left as it is',
    next: 'restore to another path with -o, or add -force: it moves what is there aside and keeps it',
  });
}

/** An error of the file system (and not of the store) as one for people; any other stays as it is. */
export function asOutputError(error: unknown, outputPath: string): unknown {
  const isSystemError = error instanceof Error && !(error instanceof RivuletError) && 'syscall' in error;
  if (!isSystemError) return error;
  return new RivuletError({
    code: 'OUTPUT_NOT_WRITABLE',
    message: `${outputPath} cannot be restored: ${error.message}`,
    kept: 'what was there before is as it was',
    next: 'check the permissions of its folder and the state of its disk, or restore to another path with -o',
    cause: error,
  });
}
