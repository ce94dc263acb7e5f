import * as fs from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';
import { realPath } from '../base/database-files.ts';
import { readFully } from '../base/durable-file.ts';
import { hasCode, RivuletError } from '../base/errors.ts';
import { parseLtxName } from '../ltx/format.ts';
import { metaPathFor } from './local-state.ts';

/** What has been written beside a name, and not been given it yet. */
const STAGED = /^(.+)\.\d+-[0-9a-f]+\.tmp$/;
/** Our own files, and folders, that need no look inside. */
const OWN_NAMES: readonly string[] = ['journal', 'lock', 'events', 'snapshot.tmp'];
const OWN_PREFIX = 'unstored-';
/** With this, and the length before it, a state begins. */
const STATE_BEGINS = '{"format":';

/**
 * Makes sure that a folder is Rivulet's, or is to become it: what lies there under the names of Rivulet's files is removed without
 * asking. Throws META_PATH_TAKEN.
 */
export function requireOwnFolder(databasePath: string, metaPath: string): void {
  const inside = relative(realPath(metaPath), realPath(databasePath));
  if (!inside.startsWith('..') && !isAbsolute(inside)) throw taken(metaPath, `the database ${databasePath}`);
  // Nobody else gives that name to a folder.
  if (metaPath === metaPathFor(databasePath)) return;
  const names = namesIn(metaPath);
  // The first file that is made there.
  if (names.includes('lock') && fs.lstatSync(join(metaPath, 'lock')).isFile()) return;
  const foreign = names.find((name) => !isOwn(metaPath, name));
  if (foreign !== undefined) throw taken(metaPath, join(metaPath, foreign));
}

/** Removes what processes left that died while they wrote the state. Nobody else may be there. */
export function removeStaged(metaPath: string): void {
  for (const name of namesIn(metaPath)) {
    if (STAGED.exec(name)?.[1] === 'state') fs.rmSync(join(metaPath, name), { force: true });
  }
}

function isOwn(metaPath: string, name: string): boolean {
  const path = join(metaPath, name);
  const of = STAGED.exec(name)?.[1] ?? name;
  if (of === 'state') return beginsLikeState(path);
  if (of === 'spool') return fs.lstatSync(path).isDirectory() && namesIn(path).every(isSpooled);
  return OWN_NAMES.includes(of) ? fs.lstatSync(path).isFile() : of.startsWith(OWN_PREFIX);
}

function isSpooled(name: string): boolean {
  return name.endsWith('.tmp') || parseLtxName(name) !== undefined;
}

/** It may be damaged further on: that is no matter. */
function beginsLikeState(path: string): boolean {
  if (!fs.lstatSync(path).isFile()) return false;
  const fd = fs.openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(4 + STATE_BEGINS.length);
    const got = readFully(fd, bytes, 0);
    return STATE_BEGINS.startsWith(bytes.toString('latin1', 4, Math.max(got, 4)));
  } finally {
    fs.closeSync(fd);
  }
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

function taken(metaPath: string, what: string): RivuletError {
  return new RivuletError({
    code: 'META_PATH_TAKEN',
    message: `${metaPath} is to be a folder of Rivulet's own, and holds ${what}`,
    kept: 'nothing in it was touched',
    next: 'set meta-path to a folder that does not exist yet, another one for each database',
  });
}
