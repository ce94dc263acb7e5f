import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { eventually, replicate, rivulet, run, runOk, TestProcess, workFolder } from '../support/processes.ts';
import {
  assertRestoresWhole,
  changePageSize,
  createDatabase,
  fileInTheMaking,
  insertRows,
  l0Names,
  openDatabase,
  type Place,
  pathOf,
  placeOf,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';
import { between, randomOf } from '../support/writers.ts';

/** What every writer below begins with: a connection of its own, and what decides its steps. */
const WRITER = `
import { DatabaseSync } from 'node:sqlite';
const [path, seed, support, other] = process.argv.slice(1);
const { between, randomOf } = await import(support);
const random = randomOf(Number(seed));
const db = new DatabaseSync(path, { timeout: 30000 });
`;

/** Starts a process that does `work`, which is the rest of a module that begins with {@link WRITER}. */
function writer(t: TestContext, work: string, path: string, seed: number, other = ''): Promise<string> {
  const support = fileURLToPath(new URL('../support/writers.ts', import.meta.url));
  const node = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', WRITER + work, '--'];
  return runOk(t, process.execPath, [...node, path, String(seed), support, other]);
}

/** A database with rows, that is replicated and has its first image stored. */
async function begin(t: TestContext, place: Place, rows = 500, bytes?: number): Promise<TestProcess> {
  const db = createDatabase(place.path);
  insertRows(db, rows, bytes);
  db.close();
  const process = await replicate(t, place.path, place.url);
  await process.says(/ltx file uploaded/);
  return process;
}

/** A stop that stores everything; the frames that came proved themselves, so that nothing had to be compared. */
async function endWell(process: TestProcess): Promise<void> {
  assert.equal((await process.end()).status, 0, process.output);
  assert.doesNotMatch(process.output, /level=(ERROR|WARN)|comparing the database/);
}

/**
 * Transactions that do not fit into memory, so that pages are in the WAL before anybody knows whether they count: each has two
 * savepoints, one in the other, that are released or taken back, and is itself committed or taken back.
 */
function savepoints(seed: number): string {
  const random = randomOf(seed);
  const pick = (choices: readonly string[]): string => choices[between(random, 0, choices.length - 1)] ?? '';
  const change = (): string => {
    const from = between(random, 1, 2000);
    const rows = between(random, 1, 120);
    return pick([
      `INSERT INTO item (name, body) SELECT 'new', randomblob(2500) FROM item LIMIT ${rows}`,
      `UPDATE item SET name = name || '+', body = randomblob(700) WHERE id BETWEEN ${from} AND ${from + rows}`,
      `DELETE FROM item WHERE id BETWEEN ${from} AND ${from + rows / 2}`,
    ]);
  };
  const transaction = (): string[] => [
    ...['BEGIN IMMEDIATE', change(), 'SAVEPOINT a', change(), 'SAVEPOINT b', change(), change()],
    ...[pick(['ROLLBACK TO b; RELEASE b', 'RELEASE b', 'ROLLBACK TO b', 'ROLLBACK TO a']), change()],
    ...[pick(['ROLLBACK TO a', 'RELEASE a', 'ROLLBACK TO a; RELEASE a']), change()],
    pick(['COMMIT', 'COMMIT', 'ROLLBACK']),
  ];
  const settings = `PRAGMA cache_size=10; PRAGMA wal_autocheckpoint=${pick(['0', '100'])}`;
  return [settings, ...Array.from({ length: 60 }, transaction).flat(), ''].join(';\n');
}

/** Bytes of a transaction that were in the WAL already when it was taken back. */
function spilledBytes(path: string): number {
  const db = openDatabase(path);
  const before = statSync(`${path}-wal`).size;
  db.exec('PRAGMA cache_size=10; BEGIN IMMEDIATE; UPDATE item SET body = randomblob(6000); ROLLBACK');
  db.close();
  return statSync(`${path}-wal`).size - before;
}

/** One transaction over two databases, again and again; some are taken back, and now and then the other one is attached anew. */
const ATTACHED = `
db.exec("ATTACH '" + other + "' AS other");
for (let i = 0; i < 120; i++) {
  if (i % 20 === 19) db.exec("DETACH other; ATTACH '" + other + "' AS other");
  const rows = between(random, 1, 40);
  db.exec('BEGIN IMMEDIATE');
  db.exec("INSERT INTO main.item (name, body) SELECT 'both', randomblob(500) FROM main.item LIMIT " + rows);
  db.exec('UPDATE other.item SET body = randomblob(800) WHERE id % 50 = ' + (i % 50));
  db.exec('INSERT INTO other.item (name, body) SELECT name, body FROM main.item ORDER BY id DESC LIMIT ' + rows);
  db.exec(random() < 0.2 ? 'ROLLBACK' : 'COMMIT');
}
db.close();
`;

/** Every commit brings what the WAL holds into the database, as far as it is let, and so begins the WAL anew if it is let. */
const CHECKPOINTS_AT_ONCE = `
import { setTimeout as sleep } from 'node:timers/promises';
db.exec('PRAGMA wal_autocheckpoint=1');
const update = db.prepare("UPDATE item SET name = 'once', body = randomblob(600) WHERE id = ?");
for (let i = 0; i < 150; i++) {
  update.run(2 * i + Number(seed));
  if (random() < 0.1) await sleep(between(random, 0, 30));
}
db.close();
`;

describe('beside a running replication', { skip: skipWithout(SQLITE3) }, () => {
  test('savepoints and transactions that are taken back, larger than the memory of their writers', async (t) => {
    const place = placeOf(t);
    const process = await begin(t, place);
    assert.ok(spilledBytes(place.path) > 1_000_000);
    await Promise.all([1, 2].map((seed) => writer(t, 'db.exec(other);', place.path, seed, savepoints(seed))));
    await untilStored(t, place);
    await endWell(process);
    await assertRestoresWhole(t, place);
  });

  // Older ones leave frames without checksums there, which are then compared.
  test('the same by the sqlite3 tool, of whatever version it is', async (t) => {
    const place = placeOf(t);
    const process = await begin(t, place);
    const tool = (seed: number): Promise<string> =>
      runOk(t, pathOf(SQLITE3), ['-bail', '-cmd', '.timeout 30000', place.path], { input: savepoints(seed) });
    await Promise.all([3, 4].map(tool));
    await untilStored(t, place);
    assert.equal((await process.end()).status, 0, process.output);
    assert.doesNotMatch(process.output, /level=ERROR/);
    await assertRestoresWhole(t, place);
  });

  test('transactions over two databases that are both replicated: each restores to its newest state', async (t) => {
    const folder = workFolder(t);
    const places = ['left', 'right'].map((name) => placeOf(t, name, folder));
    const config = join(folder, 'rivulet.yml');
    const lines = places.map(
      ({ path, url }) => `  - { path: '${path}', replica: { url: '${url}', sync-interval: 50ms } }`,
    );
    writeFileSync(config, `dbs:\n${lines.join('\n')}\n`);
    for (const { path } of places) {
      const db = createDatabase(path);
      insertRows(db, 500);
      db.close();
    }
    const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config]);
    for (const name of ['left', 'right']) await process.says(new RegExp(`ltx file uploaded.*${name}\\.db`));
    const [left = '', right = ''] = places.map(({ path }) => path);
    await Promise.all([writer(t, ATTACHED, left, 1, right), writer(t, ATTACHED, left, 2, right)]);
    for (const place of places) await untilStored(t, place);
    await endWell(process);
    for (const place of places) await assertRestoresWhole(t, place);
  });

  test('writers that checkpoint after each commit', async (t) => {
    const place = placeOf(t);
    const process = await begin(t, place);
    await Promise.all([1, 2].map((seed) => writer(t, CHECKPOINTS_AT_ONCE, place.path, seed)));
    await untilStored(t, place);
    await endWell(process);
    await assertRestoresWhole(t, place);
  });

  test("sqlite3's .restore puts other databases in its place, smaller and larger ones; of another page size it does not", async (t) => {
    const place = placeOf(t);
    const process = await begin(t, place);
    const other = join(place.folder, 'other.db');
    const restoreOther = async (): Promise<string> => {
      const input = `.timeout 20000\n.restore '${other}'\n`;
      return (await run(t, pathOf(SQLITE3), [place.path], { input })).stderr;
    };
    const db = createDatabase(other);
    for (const { rows, journal } of [
      { rows: 5, journal: 'wal' },
      { rows: 3000, journal: 'delete' },
    ]) {
      insertRows(db, rows, 1000);
      db.exec(`PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=${journal}`);
      assert.equal(await restoreOther(), '');
      assert.equal(countOf(place.path), countOf(other));
      await untilStored(t, place, `the database of ${rows} rows`);
    }
    db.close();
    changePageSize(other, 8192);
    assert.match(await restoreOther(), /readonly/);
    const live = openDatabase(place.path);
    insertRows(live, 10);
    live.close();
    await untilStored(t, place);
    await endWell(process);
    await assertRestoresWhole(t, place);
  });
});

function countOf(path: string): unknown {
  const db = openDatabase(path);
  const count = db.prepare('SELECT count(*) AS n FROM item').get()?.n;
  db.close();
  return count;
}

/** Statements that make much of a database anew; each writes more than Rivulet keeps in memory. */
const REMAKES = [
  'CREATE TABLE copy AS SELECT * FROM item; CREATE INDEX copy_body ON copy (body)',
  'DELETE FROM copy WHERE id % 3 > 0; VACUUM',
  "ALTER TABLE item ADD COLUMN more TEXT DEFAULT 'more'; UPDATE item SET more = id",
  'DROP TABLE copy; PRAGMA auto_vacuum=INCREMENTAL; VACUUM',
  'DROP INDEX item_name; ALTER TABLE item RENAME TO thing; ALTER TABLE thing DROP COLUMN name; PRAGMA incremental_vacuum; VACUUM',
] as const;

/** Pages that are changed are in the WAL long before the statement ends. */
const REMAKE = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 30000 });
  db.exec('PRAGMA cache_size=10; PRAGMA wal_autocheckpoint=0');
  db.exec(process.argv[2]);
`;

const walBytes = ({ path }: Place): number => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;

describe('Rivulet killed while a database is made anew', { skip: skipWithout(SQLITE3) }, () => {
  test('by VACUUM and changes of the schema: in the middle of each, and while it is captured', async (t) => {
    const place = placeOf(t);
    await endWell(await begin(t, place, 8000, 1200));
    const db = openDatabase(place.path);
    const kills = { inTheMiddle: 0, inTheMaking: 0 };
    for (const [round, sql] of REMAKES.entries()) {
      const first = await replicate(t, place.path, place.url);
      await eventually('the WAL is empty', () =>
        db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 0 ? true : undefined,
      );
      const before = l0Names(place.replica).length;
      const remake = new TestProcess(t, process.execPath, ['-e', REMAKE, place.path, sql]);
      while (remake.isRunning && walBytes(place) < 1_000_000) await nextTurn();
      await first.end('SIGKILL');
      if (remake.isRunning) kills.inTheMiddle++;
      const second = rivulet(t, ['replicate', place.path, place.url]);
      assert.equal((await remake.ended).status, 0, remake.output);
      while (second.isRunning && !fileInTheMaking(place) && l0Names(place.replica).length === before) await nextTurn();
      if (fileInTheMaking(place)) kills.inTheMaking++;
      await second.end('SIGKILL');
      assert.doesNotMatch(first.output + second.output, /level=ERROR/, sql);
      if (round % 2) await restoreReplica(t, place.folder, place.url); // what is stored is some state, whole
    }
    t.diagnostic(`${REMAKES.length} times; killed ${JSON.stringify(kills)}`);
    db.close();
    const last = await replicate(t, place.path, place.url);
    await untilStored(t, place);
    assert.equal((await last.end()).status, 0, last.output);
    await assertRestoresWhole(t, place);
  });
});
