import type { Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { hasCode } from '../../base/errors.ts';
import { StoreError } from '../store.ts';

/** True for the system's ways to say that there is nothing at a path. */
export function saysAbsent(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENOTDIR');
}

/** lstat or stat; undefined where there is nothing. */
export async function unlessAbsent<T>(looking: Promise<T>): Promise<T | undefined> {
  return looking.catch((error: unknown) => {
    if (saysAbsent(error)) return undefined;
    throw error;
  });
}

/**
 * Call this when the system said that there is nothing at `path`. It returns when that shows that nothing is stored there, and
 * throws when it only shows that the store cannot be reached: a root that is a file, or a link whose disk is not mounted.
 */
export async function confirmAbsent(path: string, root: string): Promise<void> {
  for (let at = path; ; at = dirname(at)) {
    const entry = await unlessAbsent(fs.lstat(at));
    if (entry) return confirmDeepest(at, entry, root);
    if (at === dirname(at)) return;
  }
}

/** `at` is the deepest part of the path that is there. */
async function confirmDeepest(at: string, entry: Stats, root: string): Promise<void> {
  const target = entry.isSymbolicLink() ? await unlessAbsent(fs.stat(at)) : entry;
  if (!target) {
    throw new StoreError('permanent', {
      message: `${at} is a link to something that is not there`,
      next: 'mount or create what it points to, or remove the link',
    });
  }
  const carriesRoot = at === root || root.startsWith(at + sep);
  if (carriesRoot && !target.isDirectory()) {
    throw new StoreError('permanent', {
      message: `${at} is not a folder, so there can be no replica in ${root}`,
      next: 'choose another folder for this replica',
    });
  }
}
