import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { LITESTREAM, litestreamRestore } from '../support/litestream.ts';
import { eventually, replicate, workFolder } from '../support/processes.ts';
import {
  assertContiguous,
  assertSameBytes,
  checkpointedBytes,
  createDatabase,
  dump,
  insertRows,
  l0Names,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';

/** What an application does to a database, one step after the other while it is replicated. */
const STEPS: readonly { readonly name: string; readonly work: (db: DatabaseSync) => void }[] = [
  { name: 'inserts', work: (db) => insertRows(db, 50) },
  { name: 'a schema change', work: (db) => db.exec('CREATE TABLE later (a, b); INSERT INTO later VALUES (1, 2)') },
  { name: 'a large transaction', work: (db) => insertRows(db, 1500) },
  { name: 'VACUUM after deletes', work: (db) => db.exec('DELETE FROM item WHERE id % 3 > 0; VACUUM') },
  { name: 'growth into what was given back', work: (db) => insertRows(db, 400) },
  { name: 'deletes that shrink the file (auto_vacuum)', work: (db) => db.exec('DELETE FROM item WHERE id > 100') },
  { name: 'updates', work: (db) => db.exec(`UPDATE item SET body = zeroblob(10) WHERE id % 2`) },
];

async function litestreamRestoresEachStep(t: TestContext, pageSize: number, autocheckpoint: number): Promise<void> {
  const folder = workFolder(t);
  const [path, replica] = [join(folder, 'app.db'), join(folder, 'replica')];
  const url = `file://${replica}`;
  const db = createDatabase(path, { pageSize, autoVacuum: true });
  db.exec(`PRAGMA wal_autocheckpoint=${autocheckpoint}`);
  insertRows(db, 200);
  const process = await replicate(t, path, url);
  for (const step of STEPS) {
    step.work(db);
    await untilStored(t, { folder, path, url }, step.name);
    const [theirs, ours] = await eventually('both restore the same files', async () => {
      const newest = l0Names(replica).at(-1);
      const both = [await litestreamRestore(t, folder, url), await restoreReplica(t, folder, url)] as const;
      return l0Names(replica).at(-1) === newest ? both : undefined;
    });
    assertSameBytes(readFileSync(ours), readFileSync(theirs), `after ${step.name}`);
    assert.equal(await dump(t, theirs), await dump(t, path), `after ${step.name}`);
  }
  db.close();
  assert.equal((await process.end()).status, 0, process.output);
  assertContiguous(replica);
  assertSameBytes(readFileSync(await litestreamRestore(t, folder, url)), checkpointedBytes(path), 'at the end');
}

describe('Litestream restores what Rivulet wrote', { skip: skipWithout(LITESTREAM, SQLITE3) }, () => {
  for (const pageSize of [512, 4096, 65536]) {
    for (const autocheckpoint of [0, 20]) {
      const when = autocheckpoint === 0 ? 'never checkpoints' : 'checkpoints by itself';
      test(`pages of ${pageSize} bytes, an application that ${when}: the same rows and the same bytes`, (t) =>
        litestreamRestoresEachStep(t, pageSize, autocheckpoint));
    }
  }
});
