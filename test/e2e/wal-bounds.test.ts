import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { LOCK_TABLE } from '../support/locks.ts';
import { eventually, rivulet, sleep, TestProcess, workFolder, writeConfig } from '../support/processes.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import {
  createDatabase,
  dump,
  insertRows,
  openDatabase,
  restoreReplica,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';

const FRAME_BYTES = 4096 + 24;
const TRUNCATE_PAGES = 6000;
const COMMITS = 1500;
/** What a commit of the writers below adds to the WAL at least: a row of three pages, and the page that leads to it. */
const FRAMES_A_COMMIT = 4;
const MOST_GROWTH_KIB = 32 * 1024;
const LOOK_MS = 5;

/** As fast as the disk takes it, up to what a busy server commits. */
const WRITER = `
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
const [path, autocheckpoint] = process.argv.slice(1);
const db = new DatabaseSync(path, { timeout: 60000 });
db.exec('PRAGMA wal_autocheckpoint=' + autocheckpoint);
const insert = db.prepare("INSERT INTO item (name, body) VALUES ('busy', randomblob(12000))");
const trim = db.prepare('DELETE FROM item WHERE id < (SELECT max(id) FROM item) - 1000');
for (let i = 0; i < ${COMMITS}; i++) {
  (i % 100 === 99 ? trim : insert).run();
  if (i % 5 === 0) await sleep(1);
}
db.close();
`;

function walPages(path: string): number {
  return (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) / FRAME_BYTES;
}

function peakKib(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
}

/** Two processes that write at once, to their ends. Returns how many pages the WAL had at most. */
async function writeTwice(t: TestContext, path: string, autocheckpoint: number): Promise<number> {
  const node = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', WRITER, '--', path];
  const writers = [0, 1].map(() => new TestProcess(t, process.execPath, [...node, String(autocheckpoint)]));
  let most = 0;
  while (writers.some(({ isRunning }) => isRunning)) {
    most = Math.max(most, walPages(path));
    await sleep(LOOK_MS);
  }
  for (const { ended } of writers) assert.equal((await ended).status, 0, (await ended).stderr);
  return most;
}

describe('the WAL', { skip: skipWithout(SQLITE3, LOCK_TABLE) }, () => {
  test('stays under truncate-page-n while two processes write all the time, and our memory stays what it is', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const url = `file://${folder}/replica`;
    createDatabase(path).close();
    const config = writeConfig(path, url, { 'truncate-page-n': String(TRUNCATE_PAGES) });
    const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config]);
    await process.says(/ltx file uploaded/);
    const held = openDatabase(path); // or else the last writer to close would delete the WAL
    assert.ok(2 * COMMITS * FRAMES_A_COMMIT > 1.5 * TRUNCATE_PAGES, 'enough is written');
    const peaksKib: number[] = [];
    for (const autocheckpoint of [0, 1000]) {
      const most = await writeTwice(t, path, autocheckpoint);
      peaksKib.push(peakKib(process.pid));
      t.diagnostic(`autocheckpoint ${autocheckpoint}: ${most} pages, ${peaksKib.at(-1)} KiB`);
      assert.ok(most < TRUNCATE_PAGES, `${most} pages with autocheckpoint ${autocheckpoint}`);
    }
    const [warm = 0, last = 0] = peaksKib;
    assert.ok(last - warm < MOST_GROWTH_KIB, `KiB at most: ${peaksKib.join(', ')}`);
    held.close();
    assert.equal((await process.end()).status, 0, process.output);
    assert.equal(await dump(t, await restoreReplica(t, folder, url)), await dump(t, path));
  });

  test('grows while a reader of the application stands in it, and shrinks when that ends', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const url = `file://${folder}/replica`;
    const db = createDatabase(path);
    insertRows(db, 10);
    const config = writeConfig(path, url, { 'min-checkpoint-page-count': '100', 'truncate-page-n': '500' });
    const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config]);
    await process.says(/ltx file uploaded/);
    const reader = await sqliteProcess(t, path);
    await reader.run('BEGIN; SELECT count(*) FROM item');
    await eventually('the WAL grows', () => {
      insertRows(db, 100, 3000);
      return walPages(path) > 2000 || undefined;
    });
    const [row] = await reader.run('SELECT count(*) AS n FROM item');
    assert.equal(row?.n, 10, 'it reads what was there when it began');
    assert.ok(walPages(path) > 2000);
    await reader.run('COMMIT');
    await eventually('the WAL is small again', () => walPages(path) < 500 || undefined);
    await reader.close();
    db.close();
    assert.equal((await process.end()).status, 0, process.output);
    assert.doesNotMatch(process.output, /comparing the database/);
    assert.equal(await dump(t, await restoreReplica(t, folder, url)), await dump(t, path));
  });
});
