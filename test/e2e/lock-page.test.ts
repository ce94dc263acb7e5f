import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tempFolder } from '../support/temp.ts';

const RIVULET = fileURLToPath(new URL('../../bin/rivulet', import.meta.url));

function rivulet(...args: readonly string[]): void {
  const { status, stderr } = spawnSync(RIVULET, args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

function same(a: string, b: string): boolean {
  return spawnSync('cmp', ['-s', a, b]).status === 0;
}

describe('a database beyond the lock page at 1 GiB', () => {
  for (const pageSize of [4096, 65_536]) {
    test(`streams and comes back, pages of ${pageSize} bytes`, (t) => {
      const folder = tempFolder(t);
      const path = join(folder, 'large.db');
      const url = `file://${join(folder, 'replica')}`;
      const database = new DatabaseSync(path);
      database.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=wal; PRAGMA synchronous=off;
        CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1100)
          INSERT INTO t SELECT x, zeroblob(1000000) FROM c;
        PRAGMA wal_checkpoint(TRUNCATE)`);
      rivulet('replicate', '-once', path, url);
      // Pages before and after the lock page, and growth.
      database.exec(`UPDATE t SET b = randomblob(200000) WHERE id IN (3, 1070, 1090);
        INSERT INTO t(b) VALUES (randomblob(3000000))`);
      rivulet('replicate', '-once', path, url);
      const restored = join(folder, 'restored.db');
      rivulet('restore', '-o', restored, url);
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      database.close();
      assert.ok(same(path, restored));
    });
  }
});
