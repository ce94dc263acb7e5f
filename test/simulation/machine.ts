import { createHash } from 'node:crypto';
import type * as Fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { joinRegister, registerMemory } from '../../src/base/database-files.ts';
import { between, type Random } from '../support/writers.ts';

const require = createRequire(import.meta.url);
// The module itself, not its namespace: this can be written to.
const fs = require('node:fs') as typeof Fs;
const real = { ...fs };
const { exec, close, prepare } = DatabaseSync.prototype;
const { get } = StatementSync.prototype;

/** Thrown into the replicator at the moment in which its process dies. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

/** A file of ours: what a power loss leaves of it. */
interface FileObject {
  durable: Buffer | undefined;
}

const CLOCK_TICK_MS = 10;

type AnyFunction = (...args: never[]) => unknown;

/** Room for the replicator's own files: none of what would take more of it is refused, some, what is written, or all; or nothing yet. */
export type Room = 'enough' | 'little' | 'names' | 'none' | 'nearly none';

/** What is free of a disk in that state, at most. */
const FREE_BYTES: Readonly<Record<Room, number>> = {
  enough: 2 ** 40,
  little: 60_000,
  names: 0,
  none: 0,
  'nearly none': 20_000,
};

/** Whatever needs room on a disk. Removing and reading do not. */
const NEED_ROOM: readonly string[] = ['writeSync', 'fsyncSync', 'fdatasyncSync', 'renameSync', 'mkdirSync', 'openSync'];
/** How SQLite says that the disk is full, or fails: SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC. */
const DISK_ERRORS = [13, 778, 1034] as const;

/**
 * The machine on which the replicator runs: counts every step that it takes on files and in SQLite, ends its process before any of
 * them, has a disk that can be full, and knows what of its folder would survive a power loss. The application is not touched: its
 * work is done inside {@link asApplication}.
 */
export class Machine {
  #folder = '';
  #random: Random = Math.random;
  #dead = true;
  #inApplication = 0;
  #steps = 0;
  #boots = 1;
  #crashAt = Number.POSITIVE_INFINITY;
  readonly #connections = new Set<DatabaseSync>();
  readonly #descriptors = new Map<number, { readonly path: string; readonly file: FileObject | undefined }>();
  /** By name: as they are now, and below as they would be after a power loss. */
  readonly #files = new Map<string, FileObject>();
  readonly #durableFiles = new Map<string, FileObject>();
  readonly #durableFolders = new Set<string>();
  /** What was in database files when somebody looked, by inode. */
  readonly #changes = new Map<bigint, { readonly hash: string; readonly changedMs: number; readonly seenMs: number }>();
  /** The system tells of every boot. */
  tellsBoots = true;
  /** The connection of the replicator that keeps everybody else from committing. */
  #barrier: DatabaseSync | undefined;
  /** Locks all others out while it switches the database to WAL mode. */
  #exclusive: DatabaseSync | undefined;
  room: Room = 'enough';
  /** The database's disk does not take what a checkpoint writes. */
  failsCheckpoints = false;
  /** So many checkpoints of the replicator meet one of somebody else's, which is under way. */
  othersCheckpoint = 0;
  /** How often one did, and how often the WAL was synced beside a checkpoint. */
  readonly counts = { 'a checkpoint meets another': 0, 'the WAL is synced': 0, 'a sync fails': 0 };
  /** How often something was refused for want of room. */
  refusals = 0;
  /** Runs between any two steps of the replicator. */
  between: (sql: string | undefined) => void = () => undefined;
  /** The replicator made a checkpoint, which syncs what it copies. */
  onCheckpoint: () => void = () => undefined;
  /** Whether the database is in WAL mode. */
  isWal: () => boolean = () => false;
  /** The replicator put the database into WAL mode: that is the one commit of its own. */
  onSwitchToWal: () => void = () => undefined;
  /** Whoever watches the WAL right now; call them as file-system events would. */
  readonly watchers = new Set<() => void>();

  constructor() {
    this.#installFiles();
    this.#installSqlite();
    fs.watch = ((_path: string, ...rest: unknown[]) => {
      const listener = rest.at(-1) as () => void; // options may come before it
      this.watchers.add(listener);
      return { close: () => void this.watchers.delete(listener), on: () => undefined };
    }) as unknown as typeof fs.watch; // the capture uses no more of it
    syncBuiltinESMExports();
  }

  /** A new machine. `folder`: the replicator's own, for which power losses are played through. */
  renew(folder: string, random: Random): void {
    this.#folder = folder;
    this.#random = random;
    this.room = 'enough';
    this.failsCheckpoints = false;
    this.othersCheckpoint = 0;
    this.#files.clear();
    this.#durableFiles.clear();
    this.#durableFolders.clear();
    this.#changes.clear();
    this.tellsBoots = true;
  }

  get isDead(): boolean {
    return this.#dead;
  }

  /** The replicator keeps everybody from committing. */
  get hasBarrier(): boolean {
    return this.#barrier !== undefined;
  }

  /** The disk does all that is asked of it. */
  get isSound(): boolean {
    return this.room === 'enough' && !this.failsCheckpoints;
  }

  /** A new process begins, which dies before its step number `crashAt`, if it comes so far. */
  boot(crashAt = Number.POSITIVE_INFINITY): void {
    this.#dead = false;
    this.#steps = 0;
    this.#crashAt = crashAt;
    joinRegister(new SharedArrayBuffer(registerMemory().byteLength));
  }

  /** Ends the process now. */
  kill(): void {
    this.#dead = true;
  }

  /** Gives back what the dead process held, as a system does: nothing is written by that. */
  bury(databasePath: string): void {
    this.#dead = true;
    this.watchers.clear();
    // The last connection to close would checkpoint, and remove the WAL; one that only reads does not.
    const keepers = new Set<DatabaseSync>();
    if (this.#connections.size > 0 && real.existsSync(databasePath)) {
      const keeper = new DatabaseSync(databasePath, { readOnly: true });
      try {
        keeper.prepare('SELECT 1 FROM sqlite_schema').get();
      } catch {
        // It can be a file that is no database yet.
      }
      keepers.add(keeper);
    }
    for (const connection of this.#connections) close.call(connection);
    this.#connections.clear();
    this.#barrier = undefined;
    for (const keeper of keepers) keeper.close();
    for (const fd of this.#descriptors.keys()) real.closeSync(fd);
    this.#descriptors.clear();
  }

  /** What the replicator left, after the power was cut: what it had fsynced. */
  losePower(): void {
    if (this.tellsBoots) this.#boots++;
    real.rmSync(this.#folder, { recursive: true, force: true });
    this.#files.clear();
    for (const folder of [...this.#durableFolders].sort()) real.mkdirSync(folder, { recursive: true });
    for (const [path, file] of this.#durableFiles) {
      if (!real.existsSync(dirname(path))) continue;
      real.writeFileSync(path, file.durable ?? '');
      this.#files.set(path, file);
    }
  }

  /** Whether a file of ours would be there after a power loss, as it is now. */
  isDurable(path: string): boolean {
    const durable = this.#durableFiles.get(path)?.durable;
    const hasPlace = this.#durableFolders.has(dirname(path)) && this.#durableFolders.has(this.#folder);
    return hasPlace && durable !== undefined && Buffer.compare(durable, real.readFileSync(path)) === 0;
  }

  /** Runs the application's own work, which is never cut and never counted. */
  asApplication<T>(work: () => T): T {
    this.#inApplication++;
    try {
      return work();
    } finally {
      this.#inApplication--;
    }
  }

  #step(sql?: string): void {
    if (this.#inApplication > 0) return;
    if (this.#dead) throw new Crash();
    this.#steps++;
    if (this.#steps >= this.#crashAt) {
      this.#dead = true;
      throw new Crash();
    }
    this.between(sql);
  }

  #isOurs(path: unknown): path is string {
    return typeof path === 'string' && (path === this.#folder || path.startsWith(`${this.#folder}/`));
  }

  #replace(name: string, make: (original: AnyFunction) => AnyFunction): void {
    const functions = fs as unknown as Record<string, AnyFunction>; // by name
    const original = functions[name];
    if (original) functions[name] = make(original);
  }

  #installFiles(): void {
    const names = ['writeSync', 'fsyncSync', 'fdatasyncSync', 'renameSync', 'rmSync', 'unlinkSync', 'mkdirSync'];
    for (const name of [...names, 'ftruncateSync', 'openSync', 'readSync', 'readdirSync', 'statSync']) {
      this.#replace(name, (original) => (...args) => {
        this.#step();
        if (this.#needsRoom(name, args)) this.#takeRoom(name, args, original);
        if (name === 'fdatasyncSync') this.#syncDatabase(args[0] as unknown as number);
        // What a sync makes durable is in the books; the disk below need not be kept waiting.
        const result = isSync(name) && this.#inApplication === 0 ? undefined : original(...args);
        if (this.#inApplication === 0) this.#note(name, args, result);
        return result;
      });
    }
    // Other threads would take real time, and what happens would not follow from the seed alone.
    for (const name of ['fsync', 'fdatasync'] as const) {
      this.#replace(name, () => (...args) => {
        const [fd, done] = args as unknown as [number, (error?: unknown) => void];
        fs[`${name}Sync`](fd);
        queueMicrotask(done);
      });
    }
    this.#replace('statfsSync', (original) => (...args) => {
      this.#step();
      return { ...(original(...args) as object), bsize: 1, bavail: Math.floor(this.#random() * FREE_BYTES[this.room]) };
    });
    this.#replace('readFileSync', (original) => (...args) => {
      const path: unknown = args[0];
      return path === '/proc/sys/kernel/random/boot_id' ? `${this.#boots}\n` : original(...args);
    });
    this.#replace('fstatSync', (original) => (...args) => {
      const stat = original(...args);
      const [fd, options] = args as unknown as [number, { bigint?: boolean } | undefined];
      const open = this.#descriptors.get(fd);
      if (this.#inApplication > 0 || !options?.bigint || !open?.path.endsWith('.db')) return stat;
      return this.#withChangeTime(fd, stat as Fs.BigIntStats);
    });
    this.#replace('closeSync', (original) => (...args) => {
      if (this.#inApplication === 0) this.#descriptors.delete(args[0] as unknown as number);
      return original(...args);
    });
  }

  /**
   * When the database file was changed, by the clock of this world, which ticks as those of file systems do. Between two looks it was as early
   * as can be, so that the change may not show.
   */
  #withChangeTime(fd: number, stat: Fs.BigIntStats): Fs.BigIntStats {
    const now = (): bigint => {
      const hash = createHash('sha1').update(contentOf(fd)).digest('hex');
      const seen = this.#changes.get(stat.ino);
      const changedMs = seen?.hash === hash ? seen.changedMs : tickOf(seen?.seenMs ?? 0);
      this.#changes.set(stat.ino, { hash, changedMs, seenMs: Date.now() });
      return BigInt(changedMs);
    };
    return Object.defineProperties(stat, {
      ctimeMs: { get: now },
      ctimeNs: { get: () => now() * 1_000_000n + 1n },
    });
  }

  /** Whether this would write to one of the replicator's own files, or make one. */
  #needsRoom(name: string, [first, second]: unknown[]): boolean {
    if (this.#inApplication > 0 || this.room === 'enough' || this.room === 'nearly none' || !NEED_ROOM.includes(name))
      return false;
    if (name === 'openSync') return this.#isOurs(first) && /[wa]/.test(String(second));
    return this.#isOurs(typeof first === 'number' ? this.#descriptors.get(first)?.path : first);
  }

  /** Throws what a full disk answers, now and then after a part of what was to be written. */
  #takeRoom(name: string, args: unknown[], original: AnyFunction): void {
    if (this.room === 'little' && this.#random() < 0.7) return;
    if (this.room === 'names' && name !== 'writeSync') return;
    if (name === 'mkdirSync' && real.existsSync(String(args[0]))) return;
    this.refusals++;
    if (name === 'writeSync' && this.#random() < 0.5) {
      const [fd, bytes, offset, length, position] = args as [number, Uint8Array, number, number, number | null];
      Reflect.apply(original, fs, [fd, bytes, offset, between(this.#random, 0, length), position]);
    }
    const path = typeof args[0] === 'string' ? { path: args[0] } : {};
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${name}`), {
      code: 'ENOSPC',
      syscall: name.replace('Sync', ''),
      ...path,
    });
  }

  /** Keeps the books of what is durable. */
  #note(name: string, [first, second]: unknown[], result: unknown): void {
    if (name === 'openSync' && typeof result === 'number') {
      const path = String(first);
      let file = this.#isOurs(path) ? this.#files.get(path) : undefined;
      if (this.#isOurs(path) && !file && real.fstatSync(result).isFile()) {
        file = { durable: undefined };
        this.#files.set(path, file);
      }
      this.#descriptors.set(result, { path, file });
    } else if (isSync(name)) {
      this.#noteSync(first as number);
    } else if (name === 'renameSync' && this.#isOurs(first) && this.#isOurs(second)) {
      const moved = this.#files.get(first);
      this.#files.delete(first);
      if (moved) this.#files.set(second, moved);
    } else if ((name === 'rmSync' || name === 'unlinkSync') && this.#isOurs(first)) {
      for (const path of [...this.#files.keys()])
        if (path === first || path.startsWith(`${first}/`)) this.#files.delete(path);
    }
  }

  #noteSync(fd: number): void {
    const open = this.#descriptors.get(fd);
    if (!open) return;
    if (open.file) {
      open.file.durable = contentOf(fd);
      return;
    }
    const { path } = open;
    if (!real.fstatSync(fd).isDirectory()) return; // the database: its own books are kept elsewhere
    // A folder: its entries are durable as they are now. It exists durably once the one above is synced as well.
    const isOwn = this.#isOurs(path);
    for (const name of real.readdirSync(path, { withFileTypes: true })) {
      const entry = join(path, name.name);
      if (name.isDirectory() && this.#isOurs(entry)) this.#durableFolders.add(entry);
    }
    if (!isOwn) return;
    for (const known of [...this.#durableFiles.keys()])
      if (dirname(known) === path && !this.#files.has(known)) this.#durableFiles.delete(known);
    for (const [name, file] of this.#files) if (dirname(name) === path) this.#durableFiles.set(name, file);
  }

  /** On the prototypes: the module's own classes cannot be exchanged. Every connection of the replicator begins with an `exec`. */
  #installSqlite(): void {
    const machine = this;

    DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string): void {
      if (machine.#inApplication === 0) machine.#connections.add(this);
      machine.#step(sql);
      // Nobody lets go of a lock while the replicator waits for it in here: all of it is one thread.
      if (machine.#inApplication === 0 && sql.startsWith('PRAGMA busy_timeout')) return;
      exec.call(this, sql);
      if (machine.#inApplication > 0) return;
      if (sql === 'BEGIN IMMEDIATE') machine.#barrier = this;
      else if (sql === 'ROLLBACK' && machine.#barrier === this) machine.#barrier = undefined;
    };
    DatabaseSync.prototype.prepare = function (this: DatabaseSync, ...args: Parameters<DatabaseSync['prepare']>) {
      machine.#step(args[0]);
      if (machine.#inApplication === 0 && args[0] === 'PRAGMA locking_mode=EXCLUSIVE') machine.#exclusive = this;
      return prepare.apply(this, args);
    };
    DatabaseSync.prototype.close = function (this: DatabaseSync): void {
      if (machine.#exclusive === this) {
        // No time passes before it closes, and a process that dies holds no locks.
        machine.#exclusive = undefined;
        machine.#connections.delete(this);
      } else if (machine.#inApplication === 0) {
        if (machine.#dead) return;
        machine.#step('close');
        machine.#connections.delete(this);
        if (machine.#barrier === this) machine.#barrier = undefined;
      }
      close.call(this);
    };
    StatementSync.prototype.get = function (this: StatementSync, ...values: never[]) {
      const isOwn = machine.#inApplication === 0;
      const isCheckpoint = isOwn && this.sourceSQL.includes('wal_checkpoint');
      machine.#step(this.sourceSQL);
      if (isCheckpoint && machine.othersCheckpoint > 0) {
        machine.othersCheckpoint--;
        machine.counts['a checkpoint meets another']++;
        return { busy: 1, log: -1, checkpointed: -1 };
      }
      if (isCheckpoint && machine.failsCheckpoints) machine.#failCheckpoint();
      const isSwitch = isOwn && this.sourceSQL.includes('journal_mode=wal') && !machine.isWal();
      const row = Reflect.apply(get, this, values);
      if (isCheckpoint) machine.onCheckpoint();
      if (isSwitch) machine.onSwitchToWal();
      return row;
    };
  }

  /** A sync of the database or of its WAL, beside a checkpoint. */
  #syncDatabase(fd: number): void {
    const path = this.#descriptors.get(fd)?.path ?? '';
    if (this.#inApplication > 0 || dirname(path).startsWith(this.#folder)) return;
    if (path.endsWith('-wal')) this.counts['the WAL is synced']++;
    if (!this.failsCheckpoints || this.#random() < 0.3) return;
    this.refusals++;
    this.counts['a sync fails']++;
    const code = this.#random() < 0.5 ? 'ENOSPC' : 'EIO';
    throw Object.assign(new Error(`${code}: the disk is full, or fails, fdatasync`), { code, syscall: 'fdatasync' });
  }

  /** A checkpoint that fails may have copied pages, but has not said so: for others that is as if it had not begun. */
  #failCheckpoint(): void {
    if (this.#random() < 0.3) return;
    this.refusals++;
    const errcode = DISK_ERRORS[between(this.#random, 0, DISK_ERRORS.length - 1)];
    throw Object.assign(new Error('the disk is full, or fails'), { code: 'ERR_SQLITE_ERROR', errcode });
  }
}

/** Clocks of file systems go in steps. */
function tickOf(ms: number): number {
  return Math.floor(ms / CLOCK_TICK_MS) * CLOCK_TICK_MS;
}

function isSync(name: string): boolean {
  return name === 'fsyncSync' || name === 'fdatasyncSync';
}

function contentOf(fd: number): Buffer {
  const bytes = Buffer.alloc(real.fstatSync(fd).size);
  // The descriptor may be for writing only.
  const copy = real.openSync(`/proc/self/fd/${fd}`, 'r');
  try {
    real.readSync(copy, bytes, 0, bytes.length, 0);
  } finally {
    real.closeSync(copy);
  }
  return bytes;
}
