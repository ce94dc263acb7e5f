import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';
import { realPath } from '../base/database-files.ts';
import { hasCode, RivuletError } from '../base/errors.ts';
import { parseLtxName } from '../ltx/format.ts';
import { looksLikeState, metaPathFor } from './local-state.ts';

/** What has been written beside a name, and not been given it yet. */
const STAGED = /^(.+)\.\d+-[0-9a-f]+\.tmp$/;
/** Our own files, and folders, that need no look inside. */
const OWN_NAMES: readonly string[] = ['journal', 'lock', 'events', 'snapshot.tmp'];
const OWN_PREFIX = 'unstored-';
/** What only its process can use. */
const LEFTOVERS: readonly (string | undefined)[] = ['state', 'scratch'];

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
  if (names.includes('lock') && lstatSync(join(metaPath, 'lock')).isFile()) return;
  const foreign = names.find((name) => !isOwn(metaPath, name));
  if (foreign !== undefined) throw taken(metaPath, join(metaPath, foreign));
}

/** Removes what processes left that died while they wrote the state, or made a scratch file. Nobody else may be there. */
export function removeStaged(metaPath: string): void {
  for (const name of namesIn(metaPath)) {
    if (LEFTOVERS.includes(STAGED.exec(name)?.[1])) rmSync(join(metaPath, name), { force: true });
  }
}

function isOwn(metaPath: string, name: string): boolean {
  const path = join(metaPath, name);
  const staged = STAGED.exec(name)?.[1];
  if (staged === 'scratch') return lstatSync(path).isFile();
  const of = staged ?? name;
  if (of === 'state') return lstatSync(path).isFile() && looksLikeState(path);
  if (of === 'spool') return lstatSync(path).isDirectory() && namesIn(path).every(isSpooled);
  return OWN_NAMES.includes(of) ? lstatSync(path).isFile() : of.startsWith(OWN_PREFIX);
}

function isSpooled(name: string): boolean {
  return name.endsWith('.tmp') || parseLtxName(name) !== undefined;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
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
