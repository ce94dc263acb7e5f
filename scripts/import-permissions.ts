/*
 * Who may open what, for check-imports.ts. Closing any descriptor of a database, or of its -shm, drops the locks that SQLite
 * holds on it for the whole process. So whatever opens files by their names is listed here, module by module, with the reason why
 * that is never a database that somebody has open. A module that is not listed opens nothing.
 */

/** A module of src, and why it may. */
export interface Permission {
  readonly file: string;
  readonly why: string;
}

/** A module that may call some functions of node:fs and node:fs/promises that open files by name. */
export interface OpeningModule extends Permission {
  readonly calls: readonly string[];
}

export const OPENS_FILES: readonly OpeningModule[] = [
  {
    file: 'base/database-files.ts',
    calls: ['openSync'],
    why: 'the one door to databases: it knows which are captured',
  },
  { file: 'base/durable-file.ts', calls: ['openSync'], why: 'new files under names of their own, and folders' },
  { file: 'base/scratch-chunks.ts', calls: ['openSync'], why: 'new files under names of their own' },
  { file: 'base/boot.ts', calls: ['readFileSync'], why: 'a file of /proc' },
  { file: 'kernel/kernel.ts', calls: ['readFileSync'], why: 'kernel.wasm' },
  {
    file: 'config/load-config.ts',
    calls: ['readFileSync'],
    why: 'the configuration file, before anything is captured',
  },
  { file: 'config/resolve-s3.ts', calls: ['readFileSync'], why: 'a CA bundle, while the configuration is read' },
  { file: 'store/s3/s3-trust.ts', calls: ['readFileSync'], why: 'a CA bundle, when a store is opened' },
  { file: 'store/s3/s3-upload.ts', calls: ['open'], why: 'LTX files that are uploaded' },
  { file: 'store/file/durable-folders.ts', calls: ['open'], why: 'folders' },
  { file: 'store/file/file-store.ts', calls: ['open'], why: 'objects of a replica' },
  { file: 'store/file/staged-file.ts', calls: ['copyFile', 'open'], why: 'LTX files, and what becomes an object' },
  { file: 'replica/local-state.ts', calls: ['openSync'], why: 'the state beside a database' },
  { file: 'capture/l0-writer.ts', calls: ['openSync'], why: 'LTX files in the spool' },
  { file: 'capture/spool.ts', calls: ['openSync'], why: 'the same files' },
  { file: 'restore/staged-database.ts', calls: ['openSync'], why: 'a new database, under a temporary name' },
  { file: 'restore/in-use.ts', calls: ['readFileSync'], why: 'files of /proc' },
  { file: 'daemon/snapshot.ts', calls: ['openSync'], why: 'LTX files of the spool, and a snapshot made of one' },
  { file: 'daemon/starting-point.ts', calls: ['openSync'], why: 'LTX files of the spool' },
  { file: 'cli/version.ts', calls: ['readFileSync'], why: 'package.json' },
];

/** What any module may take from node:fs, by name: it opens no path (and SQLite's locks survive it). */
export const OPENS_NOTHING: ReadonlySet<string> = new Set(
  ['access', 'exists', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'link', 'lstat']
    .concat(['mkdir', 'mkdtemp', 'readdir', 'readlink', 'realpath', 'close', 'read', 'readv', 'rename', 'rm', 'rmdir'])
    .concat(['stat', 'statfs', 'unlink', 'utimes', 'watch', 'write'])
    .flatMap((name) => [name, `${name}Sync`])
    .concat(['constants', 'BigIntStats', 'FileHandle', 'FSWatcher', 'Stats']),
);

/** A connection to a user's database takes locks and may checkpoint. */
export const SQLITE: readonly Permission[] = [
  { file: 'capture/connections.ts', why: 'holds the read transactions and runs the checkpoints' },
  { file: 'replica/owner-lock.ts', why: 'a lock of SQLite on a file of our own' },
  { file: 'restore/in-use.ts', why: 'the check that nobody uses what is replaced' },
];

const OWNER: Permission = { file: 'capture/connections.ts', why: 'the one owner of what is open of a live database' };
const DOOR: Permission = { file: 'base/database-files.ts', why: 'defines it' };
const BEFORE: Permission = { file: 'capture/inspect.ts', why: 'looks at a database before a capture claims it' };

/** What opens or closes a database, by whatever name it was imported, and who may use it. */
export const GUARDED_CALLS: ReadonlyMap<string, readonly Permission[]> = new Map([
  ['openForCapture', [DOOR, OWNER]],
  ['closeForCapture', [DOOR, OWNER]],
  ['withDatabaseFile', [DOOR, BEFORE]],
  ['switchToWal', [OWNER, BEFORE]],
  ['Connection', [OWNER]],
]);

/** Modules of Node that src may import. Others open files as well, or load modules: they are added here once that was looked at. */
export const BUILTINS: ReadonlySet<string> = new Set(
  ['buffer', 'child_process', 'crypto', 'fs', 'fs/promises', 'http', 'https', 'net', 'os', 'path', 'sqlite', 'stream']
    .concat(['timers/promises', 'tls', 'url', 'util', 'worker_threads'])
    .map((name) => `node:${name}`),
);

/** What may be taken from node:module: it loads none. */
export const OF_NODE_MODULE: ReadonlySet<string> = new Set(['flushCompileCache']);

/** Words that bring in a module, or open a file, past `import`, whatever they are called through. */
export const SIDE_DOORS: ReadonlySet<string> = new Set([
  ...['getBuiltinModule', 'createRequire', 'binding', '_linkedBinding', 'dlopen', 'eval'],
  ...['loadEnvFile', 'writeReport', 'writeHeapSnapshot', 'openAsBlob'],
]);
