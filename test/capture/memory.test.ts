import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Answer, Held } from '../support/memory-child.ts';
import { undoAfter, workFolder } from '../support/processes.ts';

/** Small pages, so that whatever is kept for each of them counts. */
const PAGE_SIZE = 512;
const ROW_BYTES = 100_000;
const ROWS = { small: 20, large: 2000 } as const;
const MORE_PAGES = ((ROWS.large - ROWS.small) * ROW_BYTES) / PAGE_SIZE;
/** What a larger database may take more, in bytes: of the JavaScript heap, not even a number for each page. */
const MOST_MORE: Held = {
  heap: 8 * MORE_PAGES,
  buffers: 12 * MORE_PAGES, // the hash of each is 8 bytes
  peak: (PAGE_SIZE * MORE_PAGES) / 2 + 32 * 1024 * 1024,
};

/** A database whose pages are nearly empty, which is made, read and encoded quickly. It ends with the test. */
function createZeros(t: TestContext, path: string, rows: number): DatabaseSync {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA page_size=${PAGE_SIZE}; PRAGMA journal_mode=off; PRAGMA synchronous=off; CREATE TABLE zeros(id INTEGER PRIMARY KEY, v);
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${rows}) INSERT INTO zeros SELECT x, zeroblob(${ROW_BYTES}) FROM n;
    PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0`);
  undoAfter(t, () => db.close());
  return db;
}

class Capture {
  readonly #child: ChildProcess;

  constructor(t: TestContext, path: string) {
    const child = fileURLToPath(new URL('../support/memory-child.ts', import.meta.url));
    // As much as the thread of a capture has for objects that live for a short time.
    const execArgv = ['--expose-gc', '--max-semi-space-size=2', '--disable-warning=ExperimentalWarning'];
    this.#child = fork(child, [path], { execArgv });
    undoAfter(t, () => void this.#child.kill('SIGKILL'));
  }

  async sync(): Promise<Answer> {
    this.#child.send('sync');
    const [answer] = await Promise.race([once(this.#child, 'message'), once(this.#child, 'exit')]);
    assert.ok(answer !== null && typeof answer === 'object', `it ended with status ${answer}`);
    return answer;
  }

  async stop(): Promise<void> {
    this.#child.send('stop');
    const [status] = await once(this.#child, 'exit');
    assert.equal(status, 0);
  }
}

/** What is held after the first image, after a transaction that changed half of all pages, and after a comparison of all of them. */
async function heldAt(t: TestContext, path: string, rows: number): Promise<Record<string, Held>> {
  const db = createZeros(t, path, rows);
  const change = (rest: number): void =>
    db.exec(`UPDATE zeros SET v = zeroblob(${ROW_BYTES + 1}) WHERE id % 2 = ${rest}`);
  const first = new Capture(t, path);
  const image = await first.sync();
  change(0);
  const increment = await first.sync();
  await first.stop();
  // All that was changed is in the database file alone: nothing but a comparison finds it.
  change(1);
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  const second = new Capture(t, path);
  const diff = await second.sync();
  await second.stop();
  assert.deepEqual([...increment.kinds, ...diff.kinds], ['image', 'increment', 'diff']);
  return { image: image.held, increment: increment.held, diff: diff.held };
}

test('a capture of 200 MB holds what one of 2 MB holds, and 8 bytes for each page', async (t) => {
  const folder = workFolder(t);
  const small = await heldAt(t, join(folder, 'small.db'), ROWS.small);
  const large = await heldAt(t, join(folder, 'large.db'), ROWS.large);
  for (const [after, held] of Object.entries(large)) {
    for (const what of ['heap', 'buffers', 'peak'] as const) {
      const more = held[what] - (small[after]?.[what] ?? 0);
      t.diagnostic(`after the ${after}, ${what}: ${(more / MORE_PAGES).toFixed(1)} bytes more for each page`);
      assert.ok(more < MOST_MORE[what], `${what} after the ${after}: ${more} bytes more than ${MOST_MORE[what]}`);
    }
  }
});
