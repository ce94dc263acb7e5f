import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { identify, sameFile } from '../base/database-files.ts';
import { fsyncFolder } from '../base/durable-file.ts';
import { hasCode, messageOf, RivuletError } from '../base/errors.ts';
import { excludeOthers } from './in-use.ts';
import { inspectTarget, isOccupied, SIDECAR_SUFFIXES, type Target } from './target.ts';

const NO_LINKS_CODES = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV'];

/**
 * Puts a finished, durable file in its place, and whatever is there aside. Returns the names that it has now.
 * Looks at the place again first: much may have happened to it while the database was fetched.
 */
export function swapIn(staged: string, outputPath: string, force: boolean): string[] {
  const target = inspectTarget(outputPath, force);
  let moved: string[] = [];
  if (isOccupied(target) || target.existing === 'empty') {
    using _ = excludeOthers(target);
    moved = isOccupied(target) ? replace(staged, target) : [];
    if (moved.length === 0) fs.renameSync(staged, target.path);
  } else {
    createExclusively(staged, target.path);
  }
  try {
    fsyncFolder(dirname(target.path));
  } catch (error) {
    throw notDurable(target.path, moved, error);
  }
  return moved;
}

/** A rename would replace a database that someone created a moment ago; a link cannot. */
function createExclusively(staged: string, path: string): void {
  try {
    fs.linkSync(staged, path);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw appeared(path);
    if (!hasCode(error, ...NO_LINKS_CODES)) throw error;
    fs.renameSync(staged, path);
  }
  try {
    fs.rmSync(staged, { force: true });
  } catch {
    // Both names are of the finished database: a leftover one is no failure, and whoever staged it removes it.
  }
}

/**
 * SIGKILL can come between any two steps, and four names cannot change at once. So first everything there gets a second
 * name aside. From then on the old database is whole under one name whatever happens, and the steps that follow never
 * leave the new database beside the old -wal or -journal (which would be replayed into it), nor the old one without its own.
 */
function replace(staged: string, target: Target): string[] {
  const names = namesAside(target);
  const isLinked = setAside(names);
  try {
    const isOldThere = isLinked && takeAway(target, names) === 'logs';
    if (isOldThere) fs.renameSync(staged, target.path);
    else createExclusively(staged, target.path);
  } catch (error) {
    if (putBack(target, names)) throw error;
    throw takenMeanwhile(target.path, names, error);
  }
  return names.map((name) => name.aside);
}

/** Gives everything its name aside: a second one (true), or where files cannot have two, instead of the first (false). */
function setAside(names: readonly Names[]): boolean {
  try {
    linkAside(names);
    return true;
  } catch (error) {
    if (!hasCode(error, ...NO_LINKS_CODES)) throw error;
    moveAside(names);
    return false;
  }
}

/** Removes the first names of what has a second one, so that the new database can take the place. */
function takeAway(target: Target, names: readonly Names[]): 'everything' | 'logs' {
  const hasLog = target.sidecars.some((suffix) => suffix !== '-shm' && sizeOf(target.path + suffix) > 0);
  // With nothing to replay, the leftovers mean nothing to the old database, which may stay until one rename swaps it. They go
  // before that: a moment after it they could already be in use again, with the new one. With a log, the database goes
  // first: SQLite discards a log that has none, but applies one to whatever lies there.
  const taken = hasLog || target.existing === 'none' ? 'everything' : 'logs';
  for (const { from } of names) {
    if (taken === 'everything' || from !== target.path) fs.rmSync(from);
  }
  return taken;
}

/** Undoes what was done so far. False when something else has taken the place: old logs would be replayed into that. */
function putBack(target: Target, names: readonly Names[]): boolean {
  const there = identify(target.path);
  const isOld = names.some(({ aside }) => sameFile(there, identify(aside)));
  if (there && !isOld) return false;
  for (const { from, aside } of [...names].reverse()) {
    if (fs.existsSync(from)) fs.rmSync(aside);
    else fs.renameSync(aside, from);
  }
  return true;
}

interface Names {
  readonly from: string;
  readonly aside: string;
}

function namesAside(target: Target): Names[] {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  for (let n = 1; ; n++) {
    const base = `${target.path}.before-restore-${stamp}${n > 1 ? `-${n}` : ''}`;
    if (['', ...SIDECAR_SUFFIXES].some((suffix) => fs.existsSync(base + suffix))) continue;
    const suffixes = target.existing === 'none' ? target.sidecars : ['', ...target.sidecars];
    return suffixes.map((suffix) => ({ from: target.path + suffix, aside: base + suffix }));
  }
}

function linkAside(names: readonly Names[]): void {
  const linked: string[] = [];
  try {
    // The database last: where its name aside is, the others are too.
    for (const { from, aside } of [...names].reverse()) {
      fs.linkSync(from, aside);
      linked.push(aside);
    }
    // Before the old names go: after a power loss the new ones must be there.
    if (names[0]) fsyncFolder(dirname(names[0].aside));
  } catch (error) {
    for (const aside of linked) fs.rmSync(aside, { force: true });
    throw error;
  }
}

/** Where files cannot have two names. The database goes first, see above. */
function moveAside(names: readonly Names[]): void {
  const moved: Names[] = [];
  try {
    for (const name of names) {
      fs.renameSync(name.from, name.aside);
      moved.push(name);
    }
  } catch (error) {
    for (const { from, aside } of moved.reverse()) fs.renameSync(aside, from);
    throw error;
  }
}

function sizeOf(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function notDurable(path: string, moved: readonly string[], cause: unknown): RivuletError {
  return new RivuletError({
    code: 'OUTPUT_NOT_DURABLE',
    message: `${path} was restored, but a power loss may still undo that: ${messageOf(cause)}`,
    ...(moved.length > 0 ? { kept: `what was there before is now ${moved.join(', ')}` } : {}),
    next: 'check the disk',
    cause,
  });
}

function takenMeanwhile(path: string, names: readonly Names[], cause: unknown): RivuletError {
  return new RivuletError({
    code: 'OUTPUT_EXISTS',
    message: `${path} was created by something else in the moment that it was being replaced`,
    kept: `what was there before is whole: ${names.map((name) => name.aside).join(', ')}`,
    next: 'stop whatever created it, and type the same command again with -force',
    cause,
  });
}

function appeared(path: string): RivuletError {
  return new RivuletError({
    code: 'OUTPUT_EXISTS',
    message: `${path} was created by something else while its backup was being restored`,
    kept: 'it was left as it is',
    next: 'restore to another path with -o, or add -force: it moves what is there aside and keeps it',
  });
}
