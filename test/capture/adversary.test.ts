import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CaptureHarness } from '../support/capture.ts';
import { tempFolder } from '../support/temp.ts';
import { SQLITE3, skipWithout } from '../support/tools.ts';
import { between, randomOf } from '../support/writers.ts';

/*
 * Around every single step that a capture takes in SQLite, another process commits, checkpoints in one of the four modes, and
 * commits again. If the order of the steps left a moment in which a commit could slip by, it would: then it is missing, or,
 * where the capture notices, it takes a comparison instead of an increment. Neither may be.
 */

const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
const ROWS = 300;
const ROUNDS = 4;
const LOOKS_A_ROUND = 6;
const SEED = Number(process.env.RIVULET_TEST_SEED ?? Date.now() % 100_000);

describe('an application that commits and checkpoints between any two steps', { skip: skipWithout(SQLITE3) }, () => {
  test(`takes no commit from the capture, which never needs a comparison (RIVULET_TEST_SEED=${SEED})`, async (t) => {
    const path = join(tempFolder(t), 'app.db');
    const random = randomOf(SEED);
    let attacks = 0;
    const sqlite3 = (sql: string): boolean =>
      spawnSync(SQLITE3.path ?? '', ['-cmd', '.timeout 0', path, sql], { encoding: 'utf8' }).status === 0;
    const touch = (bytes: number): string =>
      `UPDATE t SET v = randomblob(${bytes}) WHERE id = ${between(random, 1, ROWS)};`;
    const mode = (): string => `PRAGMA wal_checkpoint(${MODES[between(random, 0, 3)]});`;
    sqlite3(`PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${ROWS}) INSERT INTO t SELECT x, randomblob(400) FROM c`);

    let armed = false;
    const attack = (): void => {
      if (!armed || between(random, 0, 2) > 0) return;
      armed = false;
      if (sqlite3(`PRAGMA wal_autocheckpoint=0; ${touch(400)} ${mode()} ${touch(390)} ${mode()} ${touch(380)}`))
        attacks++;
      armed = true;
    };
    const { exec } = DatabaseSync.prototype;
    const { get } = StatementSync.prototype;
    DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string): void {
      attack();
      exec.call(this, sql);
      attack();
    };
    // The capture's statements take no parameters.
    StatementSync.prototype.get = function (this: StatementSync) {
      attack();
      const row = Reflect.apply(get, this, []);
      attack();
      return row;
    };
    t.after(() => {
      DatabaseSync.prototype.exec = exec;
      StatementSync.prototype.get = get;
    });

    const settings = { minCheckpointPages: 2, checkpointIntervalMs: 50, truncatePages: 3 };
    const harness = new CaptureHarness(t, path, { settings });
    await harness.capture.sync();
    for (let round = 0; round < ROUNDS; round++) {
      armed = true;
      for (let look = 0; look < LOOKS_A_ROUND; look++) {
        armed = false;
        sqlite3(touch(400));
        armed = true;
        await delay(25);
      }
      armed = false;
      await harness.capture.sync();
      await delay(between(random, 0, 500));
    }
    await harness.stop();
    sqlite3('PRAGMA wal_checkpoint(TRUNCATE)');
    t.diagnostic(`${attacks} attacks, ${harness.handovers} handovers, ${harness.files.length} files`);
    assert.ok(attacks > 50 && harness.handovers > 0);
    assert.deepEqual(harness.image.differences(readFileSync(path)), []);
    assert.ok(!harness.kinds.includes('diff'), harness.kinds.join(' '));
  });
});
