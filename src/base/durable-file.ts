import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { hasCode } from './errors.ts';

/** fsync of a folder: makes creations, renames and removals in it durable. */
export function fsyncFolder(path: string): void {
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Makes a folder, and those above it that are missing; returns the topmost one that was made. (Node's own recursive mkdir
 * never ends where a folder that is there answers that it is not, as those of /proc do.)
 */
export function makeFolders(path: string, mode = 0o777): string | undefined {
  const make = (): string | undefined => {
    try {
      fs.mkdirSync(path, { mode });
      return path;
    } catch (error) {
      if (hasCode(error, 'EEXIST') && fs.statSync(path).isDirectory()) return undefined;
      throw error;
    }
  };
  const parent = dirname(path);
  if (parent === path || fs.existsSync(parent)) return make();
  const topmost = makeFolders(parent, mode);
  const made = make();
  return topmost ?? made;
}

/** As {@link makeFolders}, and durable; returns those that were made, the deepest first. */
export function makeFoldersDurably(path: string, mode?: number): string[] {
  const topmost = makeFolders(path, mode);
  const made: string[] = [];
  for (let folder = path; topmost && folder.length >= topmost.length; folder = dirname(folder)) made.push(folder);
  for (const folder of made) fsyncFolder(dirname(folder));
  return made;
}

/**
 * The seconds to give a file as its time, for ms since 1970. They travel as a double and are cut to microseconds on their way: without
 * the extra 0.3 µs half of all milliseconds would come out as the one before, for readers (Litestream) that cut to milliseconds.
 */
export function fileSeconds(timestampMs: number): number {
  return (timestampMs + 0.0003) / 1000;
}

/** A name beside `path` that no other process uses: the staging place of an atomic write. */
export function stagingPath(path: string): string {
  return `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
}

/** Writes `path`, from one piece or several, so that after a crash it holds either the old bytes or all of the new ones. */
export function writeFileDurably(path: string, pieces: Iterable<Uint8Array>, mode = 0o600): void {
  const staged = stagingPath(path);
  try {
    const fd = fs.openSync(staged, 'wx', mode);
    try {
      for (const piece of pieces) writeFully(fd, piece, null);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(staged, path);
  } catch (error) {
    fs.rmSync(staged, { force: true });
    throw error;
  }
  fsyncFolder(dirname(path));
}

/** Writes all of `bytes` at `position` (null: at the file's end or current position), however often that takes. */
export function writeFully(fd: number, bytes: Uint8Array, position: number | null): void {
  let done = 0;
  while (done < bytes.length) {
    done += fs.writeSync(fd, bytes, done, bytes.length - done, position === null ? null : position + done);
  }
}

/** As {@link writeFully}, on another thread: `bytes` must stay as they are until it resolves. */
export async function writeFullyInBackground(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const at = done;
    done += await new Promise<number>((resolve, reject) => {
      fs.write(fd, bytes, at, bytes.length - at, position + at, (error, count) =>
        error ? reject(error) : resolve(count),
      );
    });
  }
}

/** Reads until `target` is full or the file ends; returns the bytes read. */
export function readFully(fd: number, target: Uint8Array, position: number): number {
  let done = 0;
  while (done < target.length) {
    const got = fs.readSync(fd, target, done, target.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
