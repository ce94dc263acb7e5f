import { DISK_FULL_CODES, hasCode, messageOf } from '../../base/errors.ts';
import { StoreError, type StoreErrorKind } from '../store.ts';

/** What the system's answers mean to the caller of a store; those not named here are permanent. */
const KINDS: readonly (readonly [StoreErrorKind, readonly string[]])[] = [
  ['not-found', ['ENOENT']],
  ['exists', ['EEXIST']],
  ['denied', ['EACCES', 'EPERM', 'EROFS']],
  ['full', DISK_FULL_CODES],
  // Disks and network mounts answer with these for a while, then work again.
  ['transient', ['EIO', 'EAGAIN', 'EBUSY', 'EINTR', 'ETIMEDOUT', 'ESTALE', 'EMFILE', 'ENFILE', 'ENOMEM']],
  ['transient', ['ECONNRESET', 'EHOSTDOWN', 'EHOSTUNREACH', 'ENETDOWN', 'ENETUNREACH', 'ENOTCONN']],
];

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'the system does not permit it',
  EROFS: 'the file system is mounted read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is larger than allowed',
  EIO: 'the disk reported an I/O error',
  ESTALE: 'the network mount has lost the file',
  ENOENT: 'it is not there',
  EEXIST: 'a file is where a folder should be',
  ENOTDIR: 'a file is where a folder should be',
  EISDIR: 'there is a folder of this name',
  ENOTEMPTY: 'there is a folder of this name',
  ENAMETOOLONG: 'the name is too long for the file system',
  ELOOP: 'a symbolic link leads back to itself',
  EMFILE: 'this process has too many files open',
  ENFILE: 'the system has too many files open',
};

const KEPT = {
  list: undefined,
  read: undefined,
  store: 'what was stored before is unchanged',
  delete: 'it is still stored',
} as const;

/** What was asked of the file store when the system refused. */
export interface FailedAction {
  readonly action: keyof typeof KEPT;
  readonly path: string;
  readonly root: string;
}

/** What a system error means to the caller of a store. */
export function kindOf(error: unknown): StoreErrorKind {
  return KINDS.find(([, codes]) => hasCode(error, ...codes))?.[0] ?? 'permanent';
}

/** A system error, told to people. */
export function fileError(error: unknown, failed: FailedAction, kind: StoreErrorKind = kindOf(error)): StoreError {
  if (error instanceof StoreError) return error;
  const kept = KEPT[failed.action];
  const next = nextStep(kind, failed, hasCode(error, 'EROFS'));
  return new StoreError(kind, {
    message: `cannot ${failed.action} ${failed.path}: ${wordsFor(error)}`,
    ...(kept && { kept }),
    ...(next && { next }),
    cause: error,
  });
}

function wordsFor(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const words = WORDS[code];
  return words ? `${words} (${code})` : messageOf(error);
}

function nextStep(kind: StoreErrorKind, failed: FailedAction, readOnlyMount: boolean): string | undefined {
  if (kind === 'full') return `free some space on the disk that holds ${failed.root}`;
  if (kind !== 'denied') return undefined;
  if (readOnlyMount) return `mount the disk that holds ${failed.root} for writing`;
  const access = failed.action === 'list' || failed.action === 'read' ? 'read' : 'write';
  return `give the user that runs this ${access} access to ${failed.root} and what is in it`;
}
