import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { fsyncFolder } from '../base/durable-file.ts';
import { hasCode, RivuletError } from '../base/errors.ts';
import { excludeOthers } from './in-use.ts';
import { inspectTarget, isOccupied, SIDECAR_SUFFIXES, type Target } from './target.ts';

const NO_LINKS_CODES = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV'];

/**
 * Puts a finished, durable file in its place, and whatever is there aside. Returns the names that it has now.
 * Looks at the place again first: much may have happened to it while the database was fetched.
 */
export function swapIn(staged: string, outputPath: string, force: boolean): string[] {
  const target = inspectTarget(outputPath, force);
  const folder = dirname(target.path);
  let moved: string[] = [];
  if (isOccupied(target) || target.existing === 'empty') {
    using _ = excludeOthers(target);
    moved = isOccupied(target) ? replace(staged, target) : [];
    if (moved.length === 0) fs.renameSync(staged, target.path);
  } else {
    createExclusively(staged, target.path);
  }
  fsyncFolder(folder);
  return moved;
}

/** A rename would replace a database that someone created a moment ago; a link cannot. */
function createExclusively(staged: string, path: string): void {
  try {
    fs.linkSync(staged, path);
    fs.unlinkSync(staged);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw appeared(path);
    if (!hasCode(error, ...NO_LINKS_CODES)) throw error;
    fs.renameSync(staged, path);
  }
}

/**
 * SIGKILL can come between any two steps, and four names cannot change at once. So first everything there gets a second
 * name aside. From then on the old database is whole under one name whatever happens, and the steps that follow never
 * leave the new database beside the old -wal or -journal (which would be replayed into it), nor the old one without its own.
 */
function replace(staged: string, target: Target): string[] {
  const names = namesAside(target);
  try {
    linkAside(names);
  } catch (error) {
    if (!hasCode(error, ...NO_LINKS_CODES)) throw error;
    moveAside(names);
    return finish(staged, target, names);
  }
  const hasLog = target.sidecars.some((suffix) => sizeOf(target.path + suffix) > 0 && suffix !== '-shm');
  if (!hasLog && target.existing !== 'none') {
    // Nothing to replay: the leftovers mean nothing to the old database, and one rename swaps it. They go before it: a
    // moment after it they could already be in use again, with the new database.
    for (const suffix of target.sidecars) fs.rmSync(target.path + suffix, { force: true });
    fs.renameSync(staged, target.path);
    return names.map((name) => name.aside);
  }
  // The database goes first: SQLite discards a -wal or -journal that has none, but applies one to whatever lies there.
  for (const { from } of names) fs.rmSync(from, { force: true });
  return finish(staged, target, names);
}

/** The last step; when it fails, what was there goes back. */
function finish(staged: string, target: Target, names: readonly Names[]): string[] {
  const asides = names.map((name) => name.aside);
  try {
    createExclusively(staged, target.path);
    return asides;
  } catch (error) {
    if (putBack(target, names)) throw error;
    throw new RivuletError({
      code: 'OUTPUT_EXISTS',
      message: `${target.path} was created by something else in the moment that it was being replaced`,
      kept: `what was there before is whole: ${asides.join(', ')}`,
      next: 'stop whatever created it, and type the same command again with -force',
      cause: error,
    });
  }
}

/** False when something else has taken the place: old sidecars beside a new database would be replayed into it. */
function putBack(target: Target, names: readonly Names[]): boolean {
  if (fs.existsSync(target.path)) return false;
  for (const { from, aside } of [...names].reverse()) fs.renameSync(aside, from);
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
    for (const { from, aside } of names) {
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

function appeared(path: string): RivuletError {
  return new RivuletError({
    code: 'OUTPUT_EXISTS',
    message: `${path} was created by something else while its backup was being restored`,
    kept: 'it was left as it is',
    next: 'restore to another path with -o, or add -force: it moves what is there aside and keeps it',
  });
}
