import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, type TestContext, test } from 'node:test';
import { swapIn } from '../../src/restore/swap.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import { tempFolder } from '../support/temp.ts';

/** The calls that change what is in a folder. */
const CHANGES = ['linkSync', 'renameSync', 'rmSync', 'unlinkSync'] as const;
const originals = Object.fromEntries(CHANGES.map((name) => [name, fs[name]]));

/**
 * Lets the calls of {@link CHANGES} fail by number, from 1. Returns how many there were. A SIGKILL looks to the disk like
 * all calls from one on failing, those that clean up included.
 */
function withFailures(fails: (call: number, name: string) => string | undefined, work: () => void): number {
  let calls = 0;
  for (const name of CHANGES) {
    const original = originals[name] as (...args: unknown[]) => unknown; // one of the four functions above
    const replaced = (...args: unknown[]): unknown => {
      const code = fails(++calls, name);
      if (code) throw Object.assign(new Error(`${code}: injected into ${name}`), { code, syscall: name });
      return original(...args);
    };
    Object.assign(fs, { [name]: replaced });
  }
  syncBuiltinESMExports();
  try {
    work();
  } finally {
    restoreFs();
  }
  return calls;
}

function restoreFs(): void {
  Object.assign(fs, originals);
  syncBuiltinESMExports();
}

function write(path: string, files: ReadonlyMap<string, Buffer>): void {
  for (const [suffix, bytes] of files) fs.writeFileSync(path + suffix, bytes);
}

/** The rows of a database as they are on disk now, without changing it; undefined where there is none. */
function rowsAt(path: string, scratch: string): string[] | undefined {
  if (!fs.existsSync(path)) return undefined;
  const copy = join(scratch, 'copy.db');
  for (const suffix of ['', '-wal', '-journal']) {
    fs.rmSync(copy + suffix, { force: true });
    if (fs.existsSync(path + suffix)) fs.copyFileSync(path + suffix, copy + suffix);
  }
  const database = new DatabaseSync(copy);
  try {
    return database
      .prepare('SELECT name FROM item')
      .all()
      .map((row) => String(row.name));
  } finally {
    database.close();
  }
}

const LEFT_BY_A_KILL: readonly string[] = ['one', 'two, in the log alone'];

/** What a killed process leaves: a database whose last commit is in its -wal, or whose last change is undone by its -journal. */
async function killedDatabase(t: TestContext, mode: 'wal' | 'delete'): Promise<Map<string, Buffer>> {
  const path = join(tempFolder(t), 'app.db');
  const child = await sqliteProcess(t, path);
  await child.run(`PRAGMA journal_mode = ${mode}; CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('one')`);
  await child.run(`PRAGMA wal_autocheckpoint = 0; INSERT INTO item VALUES ('${LEFT_BY_A_KILL[1]}')`);
  if (mode === 'delete') {
    // With hardly any cache, the changes are in the file long before their commit.
    await child.run('CREATE TABLE load (bytes BLOB); PRAGMA cache_size = 2; BEGIN; DELETE FROM item');
    for (let i = 0; i < 30; i++) await child.run('INSERT INTO load VALUES (randomblob(20000))');
  }
  const suffixes = mode === 'wal' ? ['', '-wal', '-shm'] : ['', '-journal'];
  const files = new Map(suffixes.map((suffix) => [suffix, fs.readFileSync(path + suffix)]));
  const withoutLog = join(tempFolder(t), 'without-log.db');
  fs.copyFileSync(path, withoutLog);
  assert.notDeepEqual(readable(withoutLog, tempFolder(t)), LEFT_BY_A_KILL, 'its log matters');
  return files;
}

function readable(path: string, scratch: string): string[] | undefined {
  try {
    return rowsAt(path, scratch);
  } catch {
    return undefined;
  }
}

function newDatabase(t: TestContext): Buffer {
  const path = join(tempFolder(t), 'new.db');
  const database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode = wal; CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('new')");
  database.close();
  return fs.readFileSync(path);
}

describe('swapping a restored database in', () => {
  afterEach(restoreFs);

  for (const mode of ['wal', 'delete'] as const) {
    test(`killed at any step, never loses or mixes a database with a ${mode === 'wal' ? '-wal' : 'hot -journal'}`, async (t) => {
      const old = await killedDatabase(t, mode);
      const staged = newDatabase(t);
      let steps = 0;
      let swapped = false;
      for (let killAt = 1; !swapped; killAt++, steps++) {
        const folder = tempFolder(t);
        const scratch = tempFolder(t);
        const path = join(folder, 'app.db');
        write(path, old);
        fs.writeFileSync(join(folder, 'staged'), staged);
        assert.deepEqual(rowsAt(path, scratch), LEFT_BY_A_KILL);
        withFailures(
          (call) => (call >= killAt ? 'EIO' : undefined),
          () => {
            try {
              swapIn(join(folder, 'staged'), path, true);
              swapped = true;
            } catch {
              // What is on disk now is what counts.
            }
          },
        );
        const aside = fs.readdirSync(folder).find((name) => /before-restore-\w+$/.test(name));
        const there = rowsAt(path, scratch);
        const kept = aside === undefined ? undefined : rowsAt(join(folder, aside), scratch);
        const where = `killed at step ${killAt}: ${fs.readdirSync(folder)}`;
        if (there?.[0] === 'new') assert.deepEqual([there, kept], [['new'], LEFT_BY_A_KILL], where);
        else if (there) assert.deepEqual(there, LEFT_BY_A_KILL, where);
        else assert.deepEqual(kept, LEFT_BY_A_KILL, where);
      }
      assert.ok(steps > 5, `${steps} steps`);
    });
  }

  test('killed at any step, always leaves a database that was closed properly or its successor in place', async (t) => {
    const old = new Map([['', newDatabase(t)]]);
    const staged = newDatabase(t).fill('x', 5000);
    for (const extra of [[], ['-wal', '-shm']]) {
      let swapped = false;
      for (let killAt = 1; !swapped; killAt++) {
        const folder = tempFolder(t);
        const path = join(folder, 'app.db');
        write(path, old);
        for (const suffix of extra) fs.writeFileSync(path + suffix, suffix === '-shm' ? Buffer.alloc(32_768) : '');
        fs.writeFileSync(join(folder, 'staged'), staged);
        withFailures(
          (call) => (call >= killAt ? 'EIO' : undefined),
          () => {
            try {
              swapIn(join(folder, 'staged'), path, true);
              swapped = true;
            } catch {
              // What is on disk now is what counts.
            }
          },
        );
        const there = fs.readFileSync(path);
        assert.ok(there.equals(staged) || there.equals(old.get('') ?? staged), `killed at step ${killAt}`);
      }
    }
  });

  test('puts everything back when any one step fails', async (t) => {
    for (const files of [
      await killedDatabase(t, 'wal'),
      await killedDatabase(t, 'delete'),
      new Map([['', newDatabase(t)]]),
    ]) {
      const staged = newDatabase(t);
      let total = Number.POSITIVE_INFINITY;
      for (let failAt = 1; failAt <= total; failAt++) {
        const folder = tempFolder(t);
        const path = join(folder, 'app.db');
        write(path, files);
        fs.writeFileSync(join(folder, 'staged'), staged);
        let failed = false;
        const calls = withFailures(
          (call) => (call === failAt ? 'EIO' : undefined),
          () => {
            try {
              swapIn(join(folder, 'staged'), path, true);
            } catch {
              failed = true;
            }
          },
        );
        if (!failed) total = Math.min(total, calls);
        if (!failed || !fs.existsSync(join(folder, 'staged'))) continue;
        for (const [suffix, bytes] of files) assert.ok(fs.readFileSync(path + suffix).equals(bytes), `step ${failAt}`);
        const names = fs.readdirSync(folder).filter((name) => name.includes('before-restore'));
        assert.deepEqual(names, [], `step ${failAt}`);
      }
    }
  });

  test('works where a file cannot have two names', async (t) => {
    for (const files of [
      await killedDatabase(t, 'wal'),
      await killedDatabase(t, 'delete'),
      new Map<string, Buffer>(),
    ]) {
      const folder = tempFolder(t);
      const path = join(folder, 'app.db');
      write(path, files);
      const staged = newDatabase(t);
      fs.writeFileSync(join(folder, 'staged'), staged);
      let moved: string[] = [];
      withFailures(
        (_, name) => (name === 'linkSync' ? 'EPERM' : undefined),
        () => {
          moved = swapIn(join(folder, 'staged'), path, true);
        },
      );
      assert.ok(fs.readFileSync(path).equals(staged));
      assert.deepEqual(
        moved.map((name) => fs.readFileSync(name)),
        [...files.values()],
      );
      assert.deepEqual(fs.readdirSync(folder).length, 1 + files.size);
      if (files.size > 0) assert.deepEqual(rowsAt(moved[0] ?? '', tempFolder(t)), LEFT_BY_A_KILL);
    }
  });

  test('does not replace what was created in the very moment of the swap', async (t) => {
    const files = await killedDatabase(t, 'wal');
    const folder = tempFolder(t);
    const path = join(folder, 'app.db');
    write(path, files);
    fs.writeFileSync(join(folder, 'staged'), newDatabase(t));
    assert.throws(
      () =>
        withFailures(
          (_, name) => {
            if (name === 'linkSync' && !fs.existsSync(path)) fs.writeFileSync(path, 'of another');
            return undefined;
          },
          () => swapIn(join(folder, 'staged'), path, true),
        ),
      { code: 'OUTPUT_EXISTS', kept: /what was there before is whole: .*before-restore-/ },
    );
    assert.equal(fs.readFileSync(path, 'utf8'), 'of another');
    const aside = fs.readdirSync(folder).find((name) => /before-restore-\w+$/.test(name)) ?? '';
    assert.deepEqual(rowsAt(join(folder, aside), tempFolder(t)), LEFT_BY_A_KILL);
  });
});
