import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { FILE_LAYOUT } from '../../src/replica/layout.ts';
import { run, runOk, TestProcess, workFolder } from '../support/processes.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import { SmallDisk, skipWithout, UNSHARE } from '../support/tools.ts';
import { sqliteHistory } from './history.ts';

const KILLS = 25;
const RESTORER = [process.execPath, fileURLToPath(new URL('./restore-child.ts', import.meta.url))];

/** A replica folder whose database has the table `item` with the one row 'new', and `megabytes` of something else. */
function replicaFolder(t: TestContext, megabytes: number): string {
  const folder = workFolder(t);
  const history = sqliteHistory(folder, [
    "CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('new'); CREATE TABLE load (bytes BLOB)",
    `WITH n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${megabytes})
     INSERT INTO load SELECT randomblob(500000) || zeroblob(500000) FROM n`,
  ]);
  fs.mkdirSync(join(folder, 'ltx/0'), { recursive: true });
  for (const id of [1, 2])
    fs.writeFileSync(join(folder, FILE_LAYOUT.key(0, BigInt(id), BigInt(id))), history.file(id, id));
  return folder;
}

/** What a process leaves that was killed with its last commit in the -wal alone, by the suffixes of its files. */
async function killedDatabase(t: TestContext): Promise<Map<string, Buffer>> {
  const path = join(workFolder(t), 'app.db');
  const child = await sqliteProcess(t, path);
  await child.run("PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('old')");
  await child.run("PRAGMA wal_autocheckpoint = 0; INSERT INTO item VALUES ('in the log')");
  return new Map(['', '-wal', '-shm'].map((suffix) => [suffix, fs.readFileSync(path + suffix)]));
}

function itemsOf(path: string): string[] | undefined {
  if (!fs.existsSync(path)) return undefined;
  const database = new DatabaseSync(path);
  try {
    return database
      .prepare('SELECT name FROM item')
      .all()
      .map((row) => String(row.name));
  } finally {
    database.close();
  }
}

describe('a restore in a process', () => {
  test('killed at any moment leaves the old database or the new one, each of them whole', async (t) => {
    const replica = replicaFolder(t, 20);
    const old = await killedDatabase(t);
    const put = (): string => {
      const path = join(workFolder(t), 'app.db');
      for (const [suffix, bytes] of old) fs.writeFileSync(path + suffix, bytes);
      return path;
    };
    const [program = '', ...args] = RESTORER;
    const startMs = performance.now();
    const whole = put();
    await runOk(t, program, [...args, replica, whole]);
    const durationMs = performance.now() - startMs;

    const found = new Set<string>();
    for (let n = 0; n < KILLS; n++) {
      const path = put();
      const restorer = new TestProcess(t, program, [...args, replica, path]);
      await sleep((durationMs * (n + 1)) / KILLS);
      await restorer.end('SIGKILL');
      const aside = fs.readdirSync(join(path, '..')).find((name) => /before-restore-\w+$/.test(name));
      const there = itemsOf(path);
      found.add(there?.[0] ?? 'none');
      if (there?.[0] !== 'new')
        assert.deepEqual(there ?? itemsOf(join(path, '..', aside ?? '')), ['old', 'in the log']);
      else assert.deepEqual([there, itemsOf(join(path, '..', aside ?? ''))], [['new'], ['old', 'in the log']]);
    }
    assert.ok(found.has('old'), [...found].join());
  });

  test('refuses a database that is open where it cannot look: by its lock', {
    skip: skipWithout(UNSHARE),
  }, async (t) => {
    const replica = replicaFolder(t, 1);
    const path = join(workFolder(t), 'app.db');
    const holder = await sqliteProcess(t, path);
    await holder.run("PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('old')");
    const hidden = ['-p', '-f', '--mount-proc', ...RESTORER, replica, path];
    assert.match((await run(t, 'unshare', hidden)).stdout, /"DATABASE_IN_USE".*cannot be seen from here/);
    await holder.run("INSERT INTO item VALUES ('goes on')");
    await holder.close();
    assert.match(await runOk(t, 'unshare', hidden), /movedAside/);
    assert.deepEqual(itemsOf(path), ['new']);
  });

  test('does not begin on a disk without room for the result, and keeps what is there', {
    skip: skipWithout(UNSHARE),
  }, async (t) => {
    const replica = replicaFolder(t, 8);
    const disk = join(workFolder(t), 'disk');
    const small = await SmallDisk.mount(t, disk, 4 * 1024 * 1024);
    const path = join(disk, 'app.db');
    const [sh, script] = small.inside(['sh', '-c', `echo old > ${path}`]);
    await runOk(t, sh, script);
    const [program, args] = small.inside([...RESTORER, replica, path]);
    const output = await runOk(t, program, args);
    assert.match(output, /"DISK_FULL".*it needs \d+ bytes and \d+ are free.*nothing was changed/);
    const [ls, listing] = small.inside(['sh', '-c', `ls ${disk}; cat ${path}`]);
    assert.equal(await runOk(t, ls, listing), 'app.db\nold\n');
    await small.remount('size=64m');
    assert.match(await runOk(t, program, args), /movedAside/);
  });
});
