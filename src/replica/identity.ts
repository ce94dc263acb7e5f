import { randomBytes } from 'node:crypto';
import { RivuletError } from '../base/errors.ts';
import {
  isStoreError,
  objectUrl,
  type ReadableStore,
  type RequestOptions,
  readObject,
  type Store,
} from '../store/store.ts';

/** The object in a replica's root that says whose it is. Litestream ignores it. */
export const IDENTITY_KEY = 'rivulet.json';
const FORMAT = 1;
const LIMIT_BYTES = 64 * 1024;

/** Whose history a replica holds. */
export interface Identity {
  /** Random, made once for the replica; local state is bound to it. */
  readonly lineage: string;
}

/** Reads a replica's identity; undefined where none was written (an empty replica, or one of Litestream's). */
export async function readIdentity(store: ReadableStore, options: RequestOptions = {}): Promise<Identity | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readObject(store, IDENTITY_KEY, LIMIT_BYTES, options);
  } catch (error) {
    if (isStoreError(error, 'not-found')) return undefined;
    throw error;
  }
  return parseIdentity(store, Buffer.from(bytes).toString());
}

function parseIdentity(store: ReadableStore, text: string): Identity {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  if (typeof json !== 'object' || json === null || !('format' in json) || !('lineage' in json)) {
    throw unreadable(store, 'it is not what Rivulet writes');
  }
  if (json.format !== FORMAT) throw unreadable(store, `format ${String(json.format)} was written by a newer Rivulet`);
  if (typeof json.lineage !== 'string' || json.lineage === '') throw unreadable(store, 'its lineage is missing');
  return { lineage: json.lineage };
}

function unreadable(store: ReadableStore, why: string): RivuletError {
  return new RivuletError({
    code: 'IDENTITY_UNREADABLE',
    message: `${objectUrl(store.url, IDENTITY_KEY)} cannot be read: ${why}`,
    kept: 'nothing was written to this replica',
    next: 'look at that object; replicate to another path if this one is not yours',
  });
}

/** A lineage for a replica that is about to begin. */
export function newLineage(): string {
  return randomBytes(16).toString('hex');
}

/** Writes an identity where there is none; returns the one that is there afterwards, ours or a faster writer's. */
export async function createIdentity(store: Store, lineage?: string, options: RequestOptions = {}): Promise<Identity> {
  const identity: Identity = { lineage: lineage ?? newLineage() };
  const bytes = Buffer.from(`${JSON.stringify({ format: FORMAT, ...identity }, undefined, 2)}\n`);
  try {
    await store.put(IDENTITY_KEY, { bytes }, { ifAbsent: true, ...options });
    return identity;
  } catch (error) {
    if (!isStoreError(error, 'exists')) throw error;
    const theirs = await readIdentity(store, options);
    if (!theirs) throw error;
    return theirs;
  }
}
