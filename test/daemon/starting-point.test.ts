import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { findStart } from '../../src/daemon/starting-point.ts';
import { FILE_LAYOUT } from '../../src/replica/layout.ts';
import { Replica } from '../../src/replica/replica.ts';
import { FaultStore } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { replicateOnce, workFolder } from '../support/processes.ts';
import { createDatabase, insertRows } from '../support/tools.ts';

test('a file that Litestream had not stored is stored, also when the first answer to that is lost', async (t) => {
  const folder = workFolder(t);
  const databasePath = join(folder, 'app.db');
  const metaPath = join(folder, '.app.db-rivulet');
  const root = join(folder, 'replica');
  const db = createDatabase(databasePath);
  for (let i = 0; i < 2; i++) {
    insertRows(db, 5);
    await replicateOnce(t, databasePath, `file://${root}`);
  }
  db.close();
  const theirs = join(folder, '.app.db-litestream', 'ltx', '0');
  mkdirSync(theirs, { recursive: true });
  cpSync(join(root, 'ltx', '0'), theirs, { recursive: true });
  rmSync(metaPath, { recursive: true });
  const second = join(root, FILE_LAYOUT.key(0, 2n, 2n));
  rmSync(second);

  const lossy = new FaultStore(new FileStore({ root }), { rules: [{ verb: 'put', kind: 'error-after', times: 1 }] });
  const store = new RetryingStore(lossy, { firstPauseMs: 1 });
  mkdirSync(metaPath);
  const replica = new Replica(store, FILE_LAYOUT);
  const { point } = await findStart({ databasePath, metaPath, store, replica, log: silentLogger });
  assert.equal(point.position?.txid, 2n);
  assert.ok(existsSync(second));
});
