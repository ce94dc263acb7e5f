import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { eventually, run, sleep, TestProcess, undoAfter } from './processes.ts';
import { onPath, pathOf, SQLITE3, type Tool } from './tools.ts';

export const PYTHON3: Tool = { name: "python3 with its module 'sqlite3'", path: pythonWithSqlite() };

function pythonWithSqlite(): string | undefined {
  const path = onPath('python3');
  return path && spawnSync(path, ['-c', 'import sqlite3']).status === 0 ? path : undefined;
}

/** Numbers from 0 up to 1 that a seed determines. */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from `least` to `most`. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

/** The table that the writers write to. */
export const WRITERS_SCHEMA = `
  CREATE TABLE event (id INTEGER PRIMARY KEY, who TEXT NOT NULL, n INTEGER NOT NULL, body BLOB);
  CREATE INDEX event_who ON event (who, n)`;

const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
/** Rows that a writer lets the table grow to before it deletes. */
const MOST_ROWS = 20_000;

/** A table and its index go, and come back with other rows: by one transaction, or by one for each. */
function schemaChange(rows: number): string {
  const change = `DROP TABLE IF EXISTS side; CREATE TABLE side AS SELECT id, body FROM event LIMIT ${rows}; CREATE INDEX side_id ON side (id);`;
  return rows % 2 ? `BEGIN IMMEDIATE; ${change} COMMIT;` : change;
}

/**
 * What a writer does next, as SQL: small and large transactions, rollbacks, deletes and updates, now and then a VACUUM, a
 * change of the schema or one of the four checkpoints. The same choices are written in Python below, but for the schema.
 */
export function nextWork(random: Random, who: string): string {
  const insert = (most: number): string => `
    WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${between(random, 1, most)})
    INSERT INTO event (who, n, body) SELECT '${who}', x, randomblob(abs(random()) % 400) FROM c;`;
  const from = between(random, 0, MOST_ROWS);
  const choice = random();
  if (choice < 0.01) return 'VACUUM;';
  if (choice < 0.02) return schemaChange(between(random, 1, 500));
  if (choice < 0.07) return `PRAGMA wal_checkpoint(${MODES[between(random, 0, 3)]});`;
  if (choice < 0.14) return `BEGIN IMMEDIATE; ${insert(1000)} ROLLBACK;`;
  if (choice < 0.2) return `BEGIN IMMEDIATE; ${insert(2000)} COMMIT;`;
  if (choice < 0.3) return `UPDATE event SET n = n + 1 WHERE id BETWEEN ${from} AND ${from + 30};`;
  if (choice < 0.4) return `DELETE FROM event WHERE id BETWEEN ${from} AND ${from + 100};`;
  return `BEGIN IMMEDIATE; ${insert(40)} DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ${MOST_ROWS}; COMMIT;`;
}

const NODE_WRITER = `
import { DatabaseSync } from 'node:sqlite';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const [path, seed, autocheckpoint, stopFile, support] = process.argv.slice(1);
const { nextWork, randomOf } = await import(support);
const random = randomOf(Number(seed));
const db = new DatabaseSync(path, { timeout: 30000 });
db.exec('PRAGMA wal_autocheckpoint=' + autocheckpoint);
let done = 0;
for (; !existsSync(stopFile); done++) {
  try {
    db.exec(nextWork(random, 'node'));
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    if (![5, 6].includes(error.errcode & 255)) throw error;
  }
  await sleep(random() * 15);
}
db.close();
console.log('done', done);
`;

const PYTHON_WRITER = `
import os, random, sqlite3, sys, time
path, seed, autocheckpoint, stop_file = sys.argv[1:5]
rnd = random.Random(int(seed))
db = sqlite3.connect(path, timeout=30, isolation_level=None)
db.execute('PRAGMA wal_autocheckpoint=' + autocheckpoint)
most = ${MOST_ROWS}
def rows(count):
    db.executemany("INSERT INTO event (who, n, body) VALUES ('python', ?, ?)",
                   ((n, os.urandom(rnd.randrange(400))) for n in range(rnd.randint(1, count))))
def work():
    choice, start = rnd.random(), rnd.randint(0, most)
    if choice < 0.01: db.execute('VACUUM')
    elif choice < 0.07: db.execute('PRAGMA wal_checkpoint(%s)' % rnd.choice(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])).fetchall()
    elif choice < 0.4:
        db.execute('BEGIN IMMEDIATE')
        if choice < 0.2: rows(2000 if choice < 0.14 else 1000)
        elif choice < 0.3: db.execute('UPDATE event SET n = n + 1 WHERE id BETWEEN ? AND ?', (start, start + 30))
        else: db.execute('DELETE FROM event WHERE id BETWEEN ? AND ?', (start, start + 100))
        db.execute('ROLLBACK' if 0.14 <= choice < 0.2 else 'COMMIT')
    else:
        db.execute('BEGIN IMMEDIATE')
        rows(40)
        db.execute('DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?', (most,))
        db.execute('COMMIT')
done = 0
while not os.path.exists(stop_file):
    try:
        work()
    except sqlite3.OperationalError as error:
        if db.in_transaction: db.execute('ROLLBACK')
        if 'locked' not in str(error): raise
    done += 1
    time.sleep(rnd.random() * 0.015)
db.close()
print('done', done)
`;

export interface WritersOptions {
  readonly path: string;
  readonly folder: string;
  readonly seed: number;
}

/** Three kinds of process that write to one database at once, until they are told to stop. */
export class Writers {
  readonly #stopFile: string;
  readonly #ended: Promise<readonly number[]>;
  readonly #processes: readonly TestProcess[];

  constructor(t: TestContext, { path, folder, seed }: WritersOptions) {
    const stopFile = join(folder, 'writers-stop');
    this.#stopFile = stopFile;
    const args = (offset: number, autocheckpoint: number): string[] => [
      path,
      String(seed + offset),
      String(autocheckpoint),
      stopFile,
    ];
    const node = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', NODE_WRITER, '--'];
    this.#processes = [
      new TestProcess(t, process.execPath, [...node, ...args(0, 1000), import.meta.url]),
      new TestProcess(t, pathOf(PYTHON3), ['-c', PYTHON_WRITER, ...args(1, 0)]),
    ];
    const cli = sqlite3Loop(t, path, seed + 2, stopFile);
    this.#ended = Promise.all([...this.#processes.map(transactionsOf), cli]);
    this.#ended.catch(() => undefined); // stop() hears of it
    undoAfter(t, () =>
      this.stop().then(
        () => undefined,
        () => undefined,
      ),
    );
  }

  /** The processes that hold the database open all the time. */
  get processes(): readonly TestProcess[] {
    return this.#processes;
  }

  /** Stops all of them; returns how often each did something, and throws if one failed. */
  async stop(): Promise<readonly number[]> {
    writeFileSync(this.#stopFile, '');
    return this.#ended;
  }
}

async function transactionsOf(writer: TestProcess): Promise<number> {
  const { status, signal, stdout, stderr } = await writer.ended;
  assert.equal(status, 0, `a writer ended with ${signal ?? status}: ${stderr}`);
  return Number(/done (\d+)/.exec(stdout)?.[1]);
}

/** The command line tool, started anew for every few transactions: a connection that comes and goes. */
async function sqlite3Loop(t: TestContext, path: string, seed: number, stopFile: string): Promise<number> {
  const random = randomOf(seed);
  let done = 0;
  for (; !existsSync(stopFile); done++) {
    const work = Array.from({ length: between(random, 1, 4) }, () => nextWork(random, 'cli'));
    const input = `.timeout 30000\nPRAGMA wal_autocheckpoint=${between(random, 0, 1) * 20};\n${work.join('\n')}\n`;
    const { status, stderr } = await run(t, pathOf(SQLITE3), [path], { input });
    assert.ok(status === 0 || /locked/.test(stderr), `sqlite3 ended with status ${status}: ${stderr}`);
    await sleep(random() * 40);
  }
  return done;
}

/** Waits until the database holds rows of every kind of writer. */
export async function untilAllWrite(t: TestContext, path: string): Promise<void> {
  await eventually('all writers write', async () => {
    const { stdout } = await run(t, pathOf(SQLITE3), [path, 'SELECT count(DISTINCT who) FROM event'], {});
    return stdout.trim() === '3' ? true : undefined;
  });
}
