import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { readLtx } from './ltx.ts';
import { type Ended, eventually, RIVULET, runOk, TestProcess, workFolder } from './processes.ts';

/** A program that tests drive and that a machine may not have. */
export interface Tool {
  readonly name: string;
  readonly path: string | undefined;
}

export const SQLITE3: Tool = { name: 'the sqlite3 command line tool', path: onPath('sqlite3') };
export const UNSHARE: Tool = { name: 'unshare and nsenter that may mount a tmpfs (root)', path: unshareThatMounts() };

/** For a test's `skip` option: false, or a loud reason naming what is missing. */
export function skipWithout(...tools: readonly Tool[]): string | false {
  const missing = tools.filter((tool) => tool.path === undefined).map((tool) => tool.name);
  return missing.length > 0 && `SKIPPED: not on this machine: ${missing.join(', ')}`;
}

export function pathOf(tool: Tool): string {
  assert.ok(tool.path, `${tool.name} is needed here`);
  return tool.path;
}

/** The first executable of this name on PATH. */
export function onPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function unshareThatMounts(): string | undefined {
  const path = onPath('nsenter') && onPath('unshare');
  const mounts = path && spawnSync(path, ['-m', 'sh', '-c', 'mount -t tmpfs -o size=64k none /mnt']).status === 0;
  return mounts ? path : undefined;
}

/** A small disk of its own, mounted where only the processes see it that are started through {@link inside}. */
export class SmallDisk {
  readonly #t: TestContext;
  readonly #path: string;
  readonly #holder: TestProcess;

  constructor(t: TestContext, path: string, holder: TestProcess) {
    this.#t = t;
    this.#path = path;
    this.#holder = holder;
  }

  static async mount(t: TestContext, path: string, sizeBytes: number): Promise<SmallDisk> {
    mkdirSync(path);
    const script = 'mount -t tmpfs -o size="$2" none "$1" && echo mounted && exec sleep 3600';
    const holder = new TestProcess(t, pathOf(UNSHARE), ['-m', 'sh', '-c', script, 'sh', path, String(sizeBytes)]);
    await holder.says(/mounted/);
    return new SmallDisk(t, path, holder);
  }

  /** The program and arguments that run this command line where the disk is. */
  inside(command: readonly string[]): readonly [string, readonly string[]] {
    return ['nsenter', [`--mount=/proc/${this.#holder.pid}/ns/mnt`, '--', ...command]];
  }

  /** Changes its mount options: `size=64m`, `ro`. */
  async remount(options: string): Promise<void> {
    await runOk(this.#t, ...this.inside(['mount', '-o', `remount,${options}`, this.#path]));
  }
}

// ---- Looking at databases ----

/** A connection of an application, in this process. */
export function openDatabase(path: string, autocheckpoint = 1000): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 20_000 });
  db.exec(`PRAGMA wal_autocheckpoint=${autocheckpoint}`);
  return db;
}

/** `CREATE TABLE`s and some rows in a new database in WAL mode. */
export function createDatabase(path: string, options: { pageSize?: number; autoVacuum?: boolean } = {}): DatabaseSync {
  const db = openDatabase(path);
  db.exec(`PRAGMA page_size=${options.pageSize ?? 4096}`);
  if (options.autoVacuum) db.exec('PRAGMA auto_vacuum=FULL');
  db.exec('PRAGMA journal_mode=wal');
  db.exec('CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body BLOB); CREATE INDEX item_name ON item (name)');
  return db;
}

/** Gives a database another page size, as an application does while nobody else has it open. */
export function changePageSize(path: string, pageSize: number): void {
  const db = openDatabase(path);
  db.exec(`PRAGMA journal_mode=delete; PRAGMA page_size=${pageSize}; VACUUM; PRAGMA journal_mode=wal`);
  assert.equal(db.prepare('PRAGMA page_size').get()?.page_size, pageSize);
  db.close();
}

/** One transaction that inserts `count` rows of about `bytes` bytes. */
export function insertRows(db: DatabaseSync, count: number, bytes = 300): void {
  db.exec(`
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${count})
    INSERT INTO item (name, body) SELECT 'item ' || x || hex(randomblob(4)), randomblob(${bytes}) FROM n`);
}

/** Every row and the schema as SQL; tables of Litestream's own left out. Leaves the database and its WAL as they are. */
export async function dump(t: TestContext, path: string): Promise<string> {
  const sql = await runOk(t, pathOf(SQLITE3), ['-readonly', '-cmd', '.timeout 20000', path, '.dump']);
  return sql.replace(/^.*_litestream_(seq|lock).*\n/gm, '');
}

/** The database file after everything in its WAL was moved into it. Nobody else may have it open. */
export function checkpointedBytes(path: string): Buffer {
  const db = openDatabase(path);
  try {
    const row = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    assert.equal(row?.busy, 0, `${path} could not be checkpointed: somebody has it open`);
  } finally {
    db.close();
  }
  return readFileSync(path);
}

/** What SQLite's own check says of a database; 'ok' is what one hopes for. */
export function integrityOf(path: string): string {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 20_000 });
  try {
    return db
      .prepare('PRAGMA integrity_check')
      .all()
      .map((row) => String(row.integrity_check))
      .join('\n');
  } finally {
    db.close();
  }
}

/** Fails with the numbers of the pages that differ. */
export function assertSameBytes(actual: Buffer, expected: Buffer, what: string): void {
  if (actual.equals(expected)) return;
  const pageSize = expected.readUInt16BE(16) === 1 ? 65536 : expected.readUInt16BE(16);
  const pages: number[] = [];
  for (let at = 0; at < Math.max(actual.length, expected.length); at += pageSize) {
    if (!actual.subarray(at, at + pageSize).equals(expected.subarray(at, at + pageSize))) pages.push(at / pageSize + 1);
  }
  const some = pages.slice(0, 20).join(', ');
  assert.fail(`${what}: ${actual.length} and ${expected.length} bytes; ${pages.length} pages differ: ${some}`);
}

// ---- Looking at what Rivulet says ----

/** One clear error for a person, the documented status, and nothing of our insides. */
export function assertClearError({ status, stdout, stderr }: Ended, message: RegExp): void {
  assert.equal(status, 1, stdout + stderr);
  assert.match(stderr, message);
  assert.equal(stderr.match(/^Error: /gm)?.length, 1, `one error: ${stderr}`);
  assertNoInsides(stdout + stderr);
}

/** No stack trace, and no defect reported. */
export function assertNoInsides(output: string): void {
  assert.doesNotMatch(output, /^\s+at .*:\d+|defect in Rivulet|Unhandled|TypeError|\bundefined\b|\[object/m);
}

// ---- Looking at replicas ----

let restores = 0;

/** A path in a new folder beneath `folder`, for something to be restored to. */
export function freshPath(folder: string): string {
  const parent = join(folder, `restored-${++restores}`);
  mkdirSync(parent);
  return join(parent, 'out.db');
}

/** Restores the replica with `rivulet restore` and returns where to. */
export async function restoreReplica(t: TestContext, folder: string, url: string): Promise<string> {
  const path = freshPath(folder);
  await runOk(t, RIVULET, ['restore', '-integrity-check', 'quick', '-o', path, url]);
  return path;
}

/** A database, its replica, and a folder for what is restored. */
export interface ReplicatedPlace {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
}

/** The same, with its replica in a folder. */
export interface Place extends ReplicatedPlace {
  readonly replica: string;
}

/** Of one test; `folder`: where several have their places. */
export function placeOf(t: TestContext, name = 'app', folder = workFolder(t)): Place {
  const replica = join(folder, `replica-${name}`);
  return { folder, path: join(folder, `${name}.db`), replica, url: `file://${replica}` };
}

/** Waits until what the replica restores to has the rows of the live database. */
export async function untilStored(t: TestContext, place: ReplicatedPlace, what = 'everything'): Promise<void> {
  const { folder, path, url } = place;
  await eventually(`the replica holds ${what}`, async () => {
    const restored = freshPath(folder);
    await runOk(t, RIVULET, ['restore', '-o', restored, url]);
    assertSameRows(await dump(t, restored), await dump(t, path));
    return true;
  });
}

/** Nobody writes any more: what is restored is the database, in its rows and in every byte of every page. */
export async function assertRestoresWhole(t: TestContext, { folder, path, replica, url }: Place): Promise<void> {
  assertContiguous(replica);
  const restored = await restoreReplica(t, folder, url);
  const bytes = readFileSync(restored);
  assertSameRows(await dump(t, restored), await dump(t, path));
  assertSameBytes(bytes, checkpointedBytes(path), 'the restored database and its source');
}

/** Of two dumps. Fails with the first line that differs. */
export function assertSameRows(actual: string, expected: string): void {
  if (actual === expected) return;
  const [theirs, ours] = [actual.split('\n'), expected.split('\n')];
  const at = theirs.findIndex((line, i) => line !== ours[i]);
  const show = (lines: readonly string[]): string => `${lines.length} lines: ${lines[at]?.slice(0, 200)}`;
  assert.fail(`line ${at + 1} of the dump differs; restored, ${show(theirs)}; live, ${show(ours)}`);
}

/** What is in a folder; nothing where there is none. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The file that Rivulet is writing into its spool right now: a first image or a comparison takes a while. */
export function fileInTheMaking({ path }: ReplicatedPlace): string | undefined {
  const spool = join(dirname(path), `.${basename(path)}-rivulet`, 'spool');
  const name = namesIn(spool).find((entry) => entry.endsWith('.tmp'));
  return name && join(spool, name);
}

/** The level 0 files of a replica in a folder, by name, oldest first. */
export function l0Names(replica: string): string[] {
  return namesIn(join(replica, 'ltx', '0'))
    .filter((name) => name.endsWith('.ltx'))
    .sort();
}

/** The snapshots of a replica in a folder, by name, oldest first. */
export function snapshotNames(replica: string): string[] {
  const folder = join(replica, 'ltx', '9');
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

export type L0Kind = 'image' | 'diff' | 'increment';

/** What each level 0 file was made from, oldest first: the whole database, a comparison, or a range of the WAL. */
export function l0Kinds(replica: string): L0Kind[] {
  return l0Names(replica).map((name) => {
    const { header } = readLtx(readFileSync(join(replica, 'ltx', '0', name)));
    if (header.minTxid === 1n) return 'image';
    return header.wal.size === 0n ? 'diff' : 'increment';
  });
}

/** Fails unless the level 0 files follow each other without a gap. Returns the newest TXID. */
export function assertContiguous(replica: string): bigint {
  let next: bigint | undefined;
  for (const name of l0Names(replica)) {
    const [first, last] = name
      .slice(0, 33)
      .split('-')
      .map((text) => BigInt(`0x${text}`));
    assert.ok(first !== undefined && last !== undefined);
    assert.equal(first, next ?? first, `a gap before ${name}`);
    next = last + 1n;
  }
  assert.ok(next, `no level 0 files in ${replica}`);
  return next - 1n;
}
