import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DatabaseLocks, LOCK_TABLE } from '../support/locks.ts';
import {
  eventually,
  replicateOnce,
  rivulet,
  runOk,
  sleep,
  TestProcess,
  undoAfter,
  workFolder,
} from '../support/processes.ts';
import { createDatabase, dump, insertRows, restoreReplica, SQLITE3, skipWithout } from '../support/tools.ts';
import { PYTHON3, untilAllWrite, WRITERS_SCHEMA, Writers } from '../support/writers.ts';

const LOOK_MS = 2;
/** Looks that a part of a test takes at least. */
const LOOKS = 200;

/**
 * Looks at the locks of a replicating process all the time. SQLite's SHARED lock must be there at each look, and a
 * read-lock; only while the process itself keeps everybody from committing may there be none.
 */
class LockWatch {
  readonly #locks: DatabaseLocks;
  readonly #lost: string[] = [];
  #looks = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(t: TestContext, pid: number, path: string) {
    this.#locks = new DatabaseLocks(pid, path);
    this.#done = this.#run();
    undoAfter(t, () => {
      this.#isOver = true;
      return this.#done;
    });
  }

  get reads(): readonly number[] {
    return this.#locks.reads;
  }

  async #run(): Promise<void> {
    for (; !this.#isOver; this.#looks++) {
      if (!this.#locks.shared) this.#lost.push(`look ${this.#looks}: no SHARED lock`);
      const { reads, write } = this.#locks.walIndex;
      if (reads.length === 0 && !write) this.#lost.push(`look ${this.#looks}: no read-lock`);
      await sleep(LOOK_MS);
    }
  }

  /** Resolves after so many more looks, none of which found a lock missing. */
  async whole(looks = LOOKS): Promise<void> {
    const until = this.#looks + looks;
    await eventually(`${looks} looks`, () => this.#looks >= until || undefined);
    assert.deepEqual(this.#lost, []);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#done;
    assert.deepEqual(this.#lost, []);
  }
}

/** `app.db` is replicated and `copy.db` restored and replicated by the same process; `late.db` comes later. */
async function startWithNeighbours(t: TestContext, folder: string): Promise<TestProcess> {
  const url = (name: string): string => `file://${join(folder, `replica-${name}`)}`;
  const seed = createDatabase(join(folder, 'seed.db'));
  insertRows(seed, 100);
  seed.close();
  await replicateOnce(t, join(folder, 'seed.db'), url('copy'));
  const config = join(folder, 'rivulet.yml');
  const settings = 'min-checkpoint-page-count: 200, truncate-page-n: 1000, monitor-interval: 20ms';
  const database = (name: string, more = ''): string =>
    `  - { path: '${join(folder, `${name}.db`)}', ${settings}${more}, replica: { url: '${url(name)}', sync-interval: 20ms } }\n`;
  const lines = [
    'addr: 127.0.0.1:0\n',
    'dbs:\n',
    database('app'),
    database('copy', ', restore-if-db-not-exists: true'),
    database('late'),
  ];
  writeFileSync(config, lines.join(''));
  const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config]);
  await process.says(/msg="restored the database"/);
  await eventually('the first image is stored', async () =>
    (await dumpOf(t, folder, url('app'))) === undefined ? undefined : true,
  );
  return process;
}

async function dumpOf(t: TestContext, folder: string, url: string): Promise<string | undefined> {
  return dump(t, await restoreReplica(t, folder, url)).catch(() => undefined);
}

function checkpoint(db: DatabaseSync, mode: string): unknown {
  return db.prepare(`PRAGMA wal_checkpoint(${mode})`).get()?.busy;
}

describe('the locks of the process that replicates', { skip: skipWithout(LOCK_TABLE, SQLITE3, PYTHON3) }, () => {
  test('are never lost: with commits and checkpoints, beside other databases of its own, at rest', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const db = createDatabase(path);
    db.exec(WRITERS_SCHEMA);
    const process = await startWithNeighbours(t, folder);
    const watch = new LockWatch(t, process.pid, path);
    await watch.whole();

    const writers = new Writers(t, { path, folder, seed: 7 });
    await untilAllWrite(t, path);
    await watch.whole();
    const late = createDatabase(join(folder, 'late.db'));
    insertRows(late, 10);
    await process.says(/msg="ltx file uploaded" .*late\.db/);
    const [, metrics = ''] = await process.says(/url="?(http:\S+\/metrics)/);
    for (let i = 0; i < 5; i++) assert.match(await (await fetch(metrics)).text(), /rivulet_state/);
    await watch.whole();
    await writers.stop();

    for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) {
      insertRows(db, 20);
      checkpoint(db, mode);
      await watch.whole(20);
    }
    await eventually('the reader rests', () => (watch.reads.join() === '0' ? true : undefined));
    await watch.whole();
    await watch.end();
    const { status, output } = { ...(await process.end()), output: process.output };
    assert.equal(status, 0, output);
    assert.doesNotMatch(output, /comparing the database/);
    late.close();
    db.close();
  });

  test('are not lost by anything else in that process: who would open the database is refused', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const db = createDatabase(path);
    insertRows(db, 1000);
    const child = fileURLToPath(new URL('../support/embedding-child.ts', import.meta.url));
    const command = [
      '--disable-warning=ExperimentalWarning',
      child,
      path,
      `file://${folder}/replica`,
      join(folder, 'go'),
    ];
    const process = new TestProcess(t, globalThis.process.execPath, command);
    await process.says(/begun/);
    const watch = new LockWatch(t, process.pid, path);
    await watch.whole(20);
    writeFileSync(join(folder, 'go'), '');
    await process.says(/that is all/);
    const underCapture = ['its header', 'an inspection', 'a second capture', 'a restore over it'].map(
      (what) => `${what}: DATABASE_UNDER_CAPTURE`,
    );
    assert.deepEqual(process.stdout.trim().split('\n'), [
      'begun',
      ...underCapture,
      ...underCapture,
      ...underCapture,
      'a restore over its WAL-index: DATABASE_IN_USE',
      'a restore elsewhere: done',
      'a restore over what was restored: done',
      'that is all',
    ]);
    insertRows(db, 1);
    await watch.whole(50);
    await watch.end();
    assert.equal((await process.end()).status, 0, process.output);
    const [restored, live] = [await restoreReplica(t, folder, `file://${folder}/replica`), path];
    assert.equal(await runOk(t, SQLITE3.path ?? '', [restored, '.dump']), await dump(t, live));
    db.close();
  });
});
