import { StoreError } from './store.ts';

/** A key that no store takes. */
export class InvalidKeyError extends StoreError {
  override readonly code = 'STORE_INVALID_KEY';

  constructor(key: string, why: string) {
    super('permanent', {
      message: `${JSON.stringify(key)} cannot be the key of an object: ${why}`,
      kept: 'nothing was read or written',
    });
  }
}

/** Throws {@link InvalidKeyError} unless `key` names one object below a store's root and nothing outside of it. */
export function checkKey(key: string): void {
  if (key === '') throw new InvalidKeyError(key, 'it is empty');
  checkCharacters(key);
  for (const segment of key.split('/')) checkSegment(key, segment);
}

/** As {@link checkKey}, for the start of keys: it may be empty, end with `/`, or end in the middle of a name. */
export function checkPrefix(prefix: string): void {
  checkCharacters(prefix);
  for (const segment of prefix.split('/').slice(0, -1)) checkSegment(prefix, segment);
}

/** Less than, equal to or more than 0, as `a` comes before or after `b` in a listing: by their UTF-8 bytes. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function checkCharacters(key: string): void {
  if (key.startsWith('/')) throw new InvalidKeyError(key, 'it starts with "/"');
  if (key.includes('\0')) throw new InvalidKeyError(key, 'it contains a NUL character');
  // Half a surrogate pair has no UTF-8: two such keys would become the same name.
  if (!key.isWellFormed()) throw new InvalidKeyError(key, 'it is not valid Unicode');
}

function checkSegment(key: string, segment: string): void {
  if (segment === '') throw new InvalidKeyError(key, 'it has an empty segment between two "/" or at its end');
  if (segment === '.' || segment === '..') throw new InvalidKeyError(key, `it has the segment "${segment}"`);
}
