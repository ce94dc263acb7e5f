import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { replicate, rivulet, sleep, workFolder, writeConfig } from '../support/processes.ts';
import {
  assertSameBytes,
  checkpointedBytes,
  openDatabase,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';

/** An application's statements, the same bytes each time: nothing in them is random. */
const STEPS: readonly string[] = [
  'CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT)',
  'WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000) INSERT INTO a (v) SELECT hex(x) FROM n',
  'CREATE INDEX a_v ON a (v)',
  'DELETE FROM a WHERE id % 3 = 0',
  'VACUUM',
  "BEGIN; UPDATE a SET v = v || 'x'; ROLLBACK",
  "UPDATE a SET v = v || 'yy' WHERE id % 5 = 0",
  'PRAGMA wal_checkpoint(FULL)',
  'CREATE TABLE b AS SELECT * FROM a; DROP TABLE a',
];

interface Start {
  readonly journal: 'wal' | 'delete';
  readonly pageSize: number;
}

function createAt(path: string, { journal, pageSize }: Start): DatabaseSync {
  const db = openDatabase(path, 0);
  db.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=${journal}; CREATE TABLE first (a)`);
  return db;
}

const schemaOf = (db: DatabaseSync): unknown[] => db.prepare('SELECT * FROM sqlite_schema ORDER BY rowid').all();

async function sameBytesWithAndWithoutUs(t: TestContext, start: Start): Promise<void> {
  const folder = workFolder(t);
  const [path, alonePath] = [join(folder, 'app.db'), join(folder, 'alone.db')];
  const url = `file://${folder}/replica`;
  const db = createAt(path, start);
  const alone = createAt(alonePath, start);
  if (start.journal === 'delete') db.close();
  const process = await replicate(t, path, url);
  await process.says(/msg="ltx file uploaded"/);
  const connection = start.journal === 'delete' ? openDatabase(path, 0) : db;
  alone.exec('PRAGMA journal_mode=wal'); // as Rivulet did by now, and as an application does that wants to be replicated
  for (const step of STEPS) {
    for (const each of [connection, alone]) each.exec(step);
    await untilStored(t, { folder, path, url }, step);
    assert.deepEqual(schemaOf(connection), schemaOf(alone), `after ${step}`);
  }
  assert.equal((await process.end()).status, 0, process.output);
  connection.close();
  alone.close();
  assertSameBytes(checkpointedBytes(path), checkpointedBytes(alonePath), 'with and without replication');
}

const IMAGE_PAGES = 25_000;

describe('the first image of a database of 100 MiB', () => {
  test('is read beside an application that waits for nobody, and never has to', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const db = openDatabase(path, 0);
    db.exec(`PRAGMA journal_mode=wal; CREATE TABLE a (v BLOB);
      WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${IMAGE_PAGES / 10})
      INSERT INTO a SELECT randomblob(40000) FROM n; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=0`);
    // No handover before the image is there: that is what a writer may meet.
    const config = writeConfig(path, `file://${folder}/replica`, { 'min-checkpoint-page-count': '1000000' });
    const process = rivulet(t, ['replicate', '-config', config]);
    const insert = db.prepare('INSERT INTO a VALUES (1)');
    let commits = 0;
    for (; !process.output.includes('read the whole database'); commits++) {
      assert.ok(process.isRunning, process.output);
      insert.run(); // throws where it would have to wait
      await sleep(1);
    }
    assert.ok(commits > 10, `${commits} commits meanwhile`);
    assert.equal((await process.end()).status, 0, process.output);
    db.close();
  });
});

describe('the database of an application that is replicated', { skip: skipWithout(SQLITE3) }, () => {
  for (const pageSize of [512, 4096, 65536]) {
    test(`has the schema and, after a checkpoint, the bytes that it would have without us (${pageSize})`, (t) =>
      sameBytesWithAndWithoutUs(t, { journal: 'wal', pageSize }));
  }

  test('that was in rollback-journal mode differs in nothing but being in WAL mode', (t) =>
    sameBytesWithAndWithoutUs(t, { journal: 'delete', pageSize: 4096 }));
});
