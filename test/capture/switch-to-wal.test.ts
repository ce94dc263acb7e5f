import assert from 'node:assert/strict';
import { copyFileSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { Connection, DatabaseHandles, switchToWal } from '../../src/capture/connections.ts';
import { tempFolder } from '../support/temp.ts';
import { openDatabase } from '../support/tools.ts';

function createAt(path: string, journal: string, table: string): void {
  const db = openDatabase(path);
  db.exec(`PRAGMA journal_mode=${journal}; CREATE TABLE ${table} (v); INSERT INTO ${table} VALUES (randomblob(9000))`);
  db.close();
}

/** Has something happen right before a statement is prepared, once. */
function before(t: TestContext, statement: string, happen: () => void): void {
  const { prepare } = DatabaseSync.prototype;
  let isDue = true;
  t.mock.method(DatabaseSync.prototype, 'prepare', function (this: DatabaseSync, sql: string) {
    if (sql === statement && isDue) {
      isDue = false;
      happen();
    }
    return prepare.call(this, sql);
  });
}

test('a connection that is given up at once has touched nothing, and is not the last to close a WAL', (t) => {
  const folder = tempFolder(t);
  const [path, copy] = [join(folder, 'app.db'), join(folder, 'copy.db')];
  createAt(path, 'wal', 'a');
  const db = openDatabase(path);
  db.exec('INSERT INTO a VALUES (2)');
  for (const suffix of ['', '-wal']) copyFileSync(path + suffix, copy + suffix);
  db.close();
  const wal = readFileSync(`${copy}-wal`);
  const refuse = (): void => {
    throw new Error('another one');
  };
  assert.throws(() => new Connection(copy, false, refuse), /another one/);
  assert.deepEqual(readFileSync(`${copy}-wal`), wal);
  assert.deepEqual(readdirSync(folder).sort(), ['app.db', 'copy.db', 'copy.db-wal']);
});

describe('switching a database to WAL mode', () => {
  test('is not done by a SQLite that is too old', (t) => {
    const path = join(tempFolder(t), 'app.db');
    createAt(path, 'delete', 'a');
    const { run } = Connection.prototype;
    t.mock.method(Connection.prototype, 'run', function (this: Connection, sql: string) {
      return sql.includes('sqlite_version') ? { version: '3.51.2' } : run.call(this, sql);
    });
    assert.throws(() => switchToWal(path, 0), { code: 'ENGINE_TOO_OLD' });
    const db = openDatabase(path);
    assert.equal(db.prepare('PRAGMA journal_mode').get()?.journal_mode, 'delete');
    db.exec('PRAGMA journal_mode=wal');
    assert.throws(() => new DatabaseHandles(path), { code: 'ENGINE_TOO_OLD' });
    db.close();
  });

  for (const statement of ['PRAGMA journal_mode', 'PRAGMA locking_mode=EXCLUSIVE', 'PRAGMA journal_mode=wal']) {
    for (const journal of ['wal', 'delete']) {
      test(`leaves another one as it is that is renamed over it before ${statement} (${journal})`, (t) => {
        const folder = tempFolder(t);
        const [path, newer] = [join(folder, 'app.db'), join(folder, 'newer.db')];
        createAt(path, 'delete', 'a');
        createAt(newer, journal, 'b');
        let application: DatabaseSync | undefined;
        before(t, statement, () => {
          renameSync(newer, path);
          application = openDatabase(path);
          application.exec('INSERT INTO b VALUES (1)');
        });
        switchToWal(path, 0);
        assert.ok(application);
        application.exec('INSERT INTO b VALUES (2)');
        assert.equal(application.prepare('SELECT count(*) AS n FROM b').get()?.n, 3);
        application.close();
        const again = openDatabase(path);
        assert.equal(again.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok');
        assert.equal(again.prepare('SELECT count(*) AS n FROM b').get()?.n, 3);
        again.close();
      });
    }
  }

  test('does not stand in the way of a writer, and comes to it later', (t) => {
    const path = join(tempFolder(t), 'app.db');
    createAt(path, 'delete', 'a');
    const db = openDatabase(path);
    db.exec('PRAGMA busy_timeout=0; BEGIN IMMEDIATE; INSERT INTO a VALUES (1)');
    assert.equal(switchToWal(path, 20), 'busy');
    db.exec('COMMIT');
    assert.equal(switchToWal(path, 20), 'switched');
    assert.equal(switchToWal(path, 20), 'already');
    db.exec('INSERT INTO a VALUES (2)');
    db.close();
  });
});
