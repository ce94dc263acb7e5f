import type * as Fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { joinRegister, registerMemory } from '../../src/base/database-files.ts';

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

type AnyFunction = (...args: never[]) => unknown;

/**
 * The machine on which the replicator runs: counts every step that it takes on files and in SQLite, ends its process before any of
 * them, and knows what of its folder would survive a power loss. The application is not touched: its work is done inside {@link asApplication}.
 */
export class Machine {
  #folder = '';
  #dead = true;
  #inApplication = 0;
  #steps = 0;
  #crashAt = Number.POSITIVE_INFINITY;
  readonly #connections = new Set<DatabaseSync>();
  readonly #descriptors = new Map<number, { readonly path: string; readonly file: FileObject | undefined }>();
  /** By name: as they are now, and below as they would be after a power loss. */
  readonly #files = new Map<string, FileObject>();
  readonly #durableFiles = new Map<string, FileObject>();
  readonly #durableFolders = new Set<string>();
  /** Runs between any two steps of the replicator. */
  between: (sql: string | undefined) => void = () => undefined;
  /** The replicator made a checkpoint, which syncs what it copies. */
  onCheckpoint: () => void = () => undefined;
  /** Whoever watches the WAL right now; call them as file-system events would. */
  readonly watchers = new Set<() => void>();

  constructor() {
    this.#installFiles();
    this.#installSqlite();
    fs.watch = ((_path: string, listener: () => void) => {
      this.watchers.add(listener);
      return { close: () => void this.watchers.delete(listener), on: () => undefined };
    }) as unknown as typeof fs.watch; // the capture uses no more of it
    syncBuiltinESMExports();
  }

  /** A new machine. `folder`: the replicator's own, for which power losses are played through. */
  renew(folder: string): void {
    this.#folder = folder;
    this.#files.clear();
    this.#durableFiles.clear();
    this.#durableFolders.clear();
  }

  get isDead(): boolean {
    return this.#dead;
  }

  get steps(): number {
    return this.#steps;
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
    for (const keeper of keepers) keeper.close();
    for (const fd of this.#descriptors.keys()) real.closeSync(fd);
    this.#descriptors.clear();
  }

  /** What the replicator left, after the power was cut: what it had fsynced. */
  losePower(): void {
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
        // What a sync makes durable is in the books; the disk below need not be kept waiting.
        const result = isSync(name) && this.#inApplication === 0 ? undefined : original(...args);
        if (this.#inApplication === 0) this.#note(name, args, result);
        return result;
      });
    }
    this.#replace('closeSync', (original) => (...args) => {
      if (this.#inApplication === 0) this.#descriptors.delete(args[0] as unknown as number);
      return original(...args);
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
    // A folder: its entries are durable as they are now. It exists durably once the one above is synced as well.
    const { path } = open;
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
      exec.call(this, sql);
    };
    DatabaseSync.prototype.prepare = function (this: DatabaseSync, ...args: Parameters<DatabaseSync['prepare']>) {
      machine.#step(args[0]);
      return prepare.apply(this, args);
    };
    DatabaseSync.prototype.close = function (this: DatabaseSync): void {
      if (machine.#inApplication === 0) {
        if (machine.#dead) return;
        machine.#step('close');
        machine.#connections.delete(this);
      }
      close.call(this);
    };
    StatementSync.prototype.get = function (this: StatementSync, ...values: never[]) {
      machine.#step(this.sourceSQL);
      const row = Reflect.apply(get, this, values);
      if (machine.#inApplication === 0 && this.sourceSQL.includes('wal_checkpoint')) machine.onCheckpoint();
      return row;
    };
  }
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
