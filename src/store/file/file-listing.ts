import { isUtf8 } from 'node:buffer';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import type { ObjectInfo } from '../store.ts';
import { confirmAbsent, unlessAbsent } from './absence.ts';

/** How many files are looked at in parallel. */
const STAT_BATCH_FILES = 64;

/** Files with this ending are being written, or were when their writer died. They are never objects. */
export const STAGING_SUFFIX = '.tmp';
const STAGING_SUFFIX_BYTES = Buffer.from(STAGING_SUFFIX);
const SLASH = Buffer.from('/');
const EMPTY = Buffer.alloc(0);

/** Which keys to list: those in `folder` whose rest starts with `namePrefix` and sorts after `after`. */
export interface Listing {
  readonly root: string;
  /** The start of the keys up to a `/`, or empty. */
  readonly folder: string;
  readonly namePrefix: Buffer;
  readonly after: Buffer | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Something in a folder. `sortKey`: what the keys of it start with, so a folder's name has a `/` behind it. */
interface Entry {
  readonly sortKey: Buffer;
  readonly isFolder: boolean;
}

/** The listing for a prefix; undefined when no key with that prefix sorts after `startAfter`. */
export function planListing(
  root: string,
  prefix: string,
  startAfter: string | undefined,
  signal: AbortSignal | undefined,
): Listing | undefined {
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const namePrefix = Buffer.from(prefix.slice(folder.length));
  const after = startAfter === undefined ? undefined : rest(Buffer.from(folder), Buffer.from(startAfter));
  return after === 'none' ? undefined : { root, folder, namePrefix, after, signal };
}

/** Of the keys that start with `head`, those after `after`: the ones whose rest is after the result, all, or none. */
function rest(head: Buffer, after: Buffer): Buffer | undefined | 'none' {
  if (startsWith(after, head)) return after.subarray(head.length);
  return Buffer.compare(head, after) > 0 ? undefined : 'none';
}

function startsWith(bytes: Buffer, head: Buffer): boolean {
  return bytes.length >= head.length && bytes.compare(head, 0, head.length, 0, head.length) === 0;
}

/** The objects in ascending order of their keys' bytes, folder by folder. */
export async function* listObjects(listing: Listing): AsyncGenerator<ObjectInfo> {
  const entries = await readEntries(listing);
  for (let next = 0; next < entries.length; ) {
    listing.signal?.throwIfAborted();
    const files = filesFrom(entries, next);
    if (files.length > 0) yield* await lookAt(files, listing);
    const folder = entries[next + files.length];
    if (folder?.isFolder) yield* listInner(folder, listing);
    next += files.length + (folder?.isFolder ? 1 : 0);
  }
}

/** The next entries up to a folder, a batch at most. */
function filesFrom(entries: readonly Entry[], start: number): readonly Entry[] {
  const batch = entries.slice(start, start + STAT_BATCH_FILES);
  const folder = batch.findIndex((entry) => entry.isFolder);
  return folder < 0 ? batch : batch.slice(0, folder);
}

async function* listInner(folder: Entry, listing: Listing): AsyncGenerator<ObjectInfo> {
  const after = listing.after && rest(folder.sortKey, listing.after);
  if (after === 'none') return;
  yield* listObjects({ ...listing, folder: listing.folder + folder.sortKey.toString(), namePrefix: EMPTY, after });
}

/** What the files are; those that have vanished since their folder was read are left out. */
async function lookAt(files: readonly Entry[], listing: Listing): Promise<ObjectInfo[]> {
  const found = await Promise.all(
    files.map(async ({ sortKey }): Promise<ObjectInfo | undefined> => {
      const key = listing.folder + sortKey.toString();
      const stat = await unlessAbsent(fs.stat(join(listing.root, key)));
      return stat?.isFile() ? { key, sizeBytes: stat.size, modifiedMs: Math.round(stat.mtimeMs) } : undefined;
    }),
  );
  return found.filter((info) => info !== undefined);
}

/** The entries of a listing's folder that can carry its keys, in the order of the keys. */
async function readEntries(listing: Listing): Promise<Entry[]> {
  listing.signal?.throwIfAborted();
  const path = join(listing.root, listing.folder);
  const dirents = await unlessAbsent(fs.readdir(path, { withFileTypes: true, encoding: 'buffer' }));
  if (!dirents) {
    await confirmAbsent(path, listing.root);
    return [];
  }
  const entries: Entry[] = [];
  for (const dirent of dirents) {
    // A name that is not UTF-8 has no key.
    if (!startsWith(dirent.name, listing.namePrefix) || !isUtf8(dirent.name)) continue;
    const kind = dirent.isSymbolicLink() ? await followLink(join(path, dirent.name.toString()), listing.root) : dirent;
    const entry = entryOf(dirent.name, kind);
    if (entry && carriesKeys(entry, listing.after)) entries.push(entry);
  }
  return entries.sort((a, b) => Buffer.compare(a.sortKey, b.sortKey));
}

/** The part of a Dirent and of a Stats that says what something is. */
interface Kind {
  isDirectory(): boolean;
  isFile(): boolean;
}

function entryOf(name: Buffer, kind: Kind | undefined): Entry | undefined {
  if (kind?.isDirectory()) return { sortKey: Buffer.concat([name, SLASH]), isFolder: true };
  return kind?.isFile() ? { sortKey: name, isFolder: false } : undefined;
}

async function followLink(path: string, root: string): Promise<Kind | undefined> {
  const target = await unlessAbsent(fs.stat(path));
  // A link into nothing may stand for a whole disk of objects: to leave it out would be to call them gone.
  if (!target) await confirmAbsent(path, root);
  return target;
}

function carriesKeys(entry: Entry, after: Buffer | undefined): boolean {
  if (entry.isFolder) return after === undefined || rest(entry.sortKey, after) !== 'none';
  if (isStaged(entry.sortKey)) return false;
  return after === undefined || Buffer.compare(entry.sortKey, after) > 0;
}

function isStaged(name: Buffer): boolean {
  return name.length >= STAGING_SUFFIX.length && name.subarray(-STAGING_SUFFIX.length).equals(STAGING_SUFFIX_BYTES);
}
