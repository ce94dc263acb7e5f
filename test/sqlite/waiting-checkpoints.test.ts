import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { tempFolder } from '../support/temp.ts';

/** A connection with a read transaction on the newest commit. */
function readFrom(path: string): DatabaseSync {
  const reader = new DatabaseSync(path, { readOnly: true });
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM t').get();
  return reader;
}

/* A fact of SQLite that docs/how-capture-works.md tells: no reader can spare an application the second wait. */
describe('an application that makes a checkpoint of its own waits for a reader that is behind', () => {
  for (const [mode, moves] of Object.entries({ FULL: 1, RESTART: 2, TRUNCATE: 2 })) {
    test(`${mode}: until it has moved ${moves === 1 ? 'once' : 'twice'}`, (t) => {
      const path = join(tempFolder(t), 'app.db');
      using app = new DatabaseSync(path, { timeout: 0 });
      app.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)');
      const checkpoint = (): unknown => app.prepare(`PRAGMA wal_checkpoint(${mode})`).get()?.busy;
      let reader = readFrom(path);
      try {
        app.exec('INSERT INTO t VALUES (1)');
        for (let moved = 0; moved < moves; moved++) {
          assert.equal(checkpoint(), 1, `after ${moved}`);
          const next = readFrom(path);
          reader.close();
          reader = next;
        }
        assert.equal(checkpoint(), 0);
      } finally {
        reader.close();
      }
    });
  }
});
