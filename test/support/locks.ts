import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import type { Tool } from './tools.ts';

/** Where the kernel tells of a process's descriptors, and of the locks on their files. */
export const LOCK_TABLE: Tool = {
  name: 'what /proc/PID/fdinfo tells of locks',
  path: existsSync('/proc/self/fdinfo') ? '/proc' : undefined,
};

/** A lock of a process on bytes of a file: `first` to `last`. */
export interface HeldLock {
  readonly kind: 'READ' | 'WRITE';
  readonly first: number;
  readonly last: number;
}

/** Bytes that SQLite locks: in the database, those that every reader shares… */
const SHARED = { first: 0x4000_0002, last: 0x4000_0002 + 509 } as const;
/** …and in the -shm, the write lock, read-lock 0 and the four marks behind it. */
const WRITE_LOCK = 120;
const READ_LOCK_0 = 123;
const READ_LOCKS = 5;
const LOCK = /^lock:\t\d+: POSIX +ADVISORY +(READ|WRITE) +\d+ \S+ (\d+) (\d+|EOF)$/gm;

/** Looks at the locks that a process, its threads included, holds on one file. One look is one moment: the kernel's own list. */
export class FileLocks {
  readonly #folder: string;
  readonly #file: string;
  #fd: string | undefined;

  constructor(pid: number, file: string) {
    this.#folder = `/proc/${pid}`;
    this.#file = file;
  }

  /** Undefined while the process does not have the file open. */
  look(): readonly HeldLock[] | undefined {
    // Each of its descriptors of a file tells of all of its locks on it.
    this.#fd = this.#isOpenAt(this.#fd) ? this.#fd : this.#find();
    const told = this.#fd && textOf(`${this.#folder}/fdinfo/${this.#fd}`);
    if (told === undefined) return undefined;
    return [...told.matchAll(LOCK)].map(([, kind, first, last]) => ({
      kind: kind === 'WRITE' ? 'WRITE' : 'READ',
      first: Number(first),
      last: last === 'EOF' ? Number.POSITIVE_INFINITY : Number(last),
    }));
  }

  #find(): string | undefined {
    try {
      return readdirSync(`${this.#folder}/fd`).find((fd) => this.#isOpenAt(fd));
    } catch {
      return undefined; // the process has ended
    }
  }

  #isOpenAt(fd: string | undefined): boolean {
    try {
      return fd !== undefined && readlinkSync(`${this.#folder}/fd/${fd}`) === this.#file;
    } catch {
      return false;
    }
  }
}

/** What a process holds of SQLite's locks on one database. */
export class DatabaseLocks {
  readonly #database: FileLocks;
  readonly #walIndex: FileLocks;

  constructor(pid: number, path: string) {
    const real = realpathSync(path);
    this.#database = new FileLocks(pid, real);
    this.#walIndex = new FileLocks(pid, `${real}-shm`);
  }

  /** The lock on the database that keeps others from leaving WAL mode, and the last one to close from deleting the WAL. */
  get shared(): boolean {
    return this.#database.look()?.some((lock) => holds(lock, SHARED.first) && holds(lock, SHARED.last)) ?? false;
  }

  /** Which read-locks: 0 for who ignores the WAL, 1 to 4 for who stands in it. */
  get reads(): readonly number[] {
    return this.walIndex.reads;
  }

  /** The read-locks and the write lock, at the same moment. */
  get walIndex(): { readonly reads: readonly number[]; readonly write: boolean } {
    const held = this.#walIndex.look() ?? [];
    const has = (kind: HeldLock['kind'], byte: number): boolean =>
      held.some((lock) => lock.kind === kind && holds(lock, byte));
    const slots = Array.from({ length: READ_LOCKS }, (_, slot) => slot);
    return { reads: slots.filter((slot) => has('READ', READ_LOCK_0 + slot)), write: has('WRITE', WRITE_LOCK) };
  }
}

function holds({ first, last }: HeldLock, byte: number): boolean {
  return first <= byte && last >= byte;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
