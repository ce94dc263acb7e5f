import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  eventually,
  RIVULET,
  replicate,
  replicateOnce,
  rivulet,
  run,
  type TestProcess,
  workFolder,
  writeConfig,
} from '../support/processes.ts';
import {
  assertClearError,
  assertContiguous,
  assertNoInsides,
  assertSameBytes,
  checkpointedBytes,
  createDatabase,
  dump,
  insertRows,
  l0Kinds,
  l0Names,
  openDatabase,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';

class Place {
  readonly t: TestContext;
  readonly folder: string;
  readonly path: string;
  readonly replica: string;
  readonly url: string;

  constructor(t: TestContext) {
    this.t = t;
    this.folder = workFolder(t);
    this.path = join(this.folder, 'app.db');
    this.replica = join(this.folder, 'replica');
    this.url = `file://${this.replica}`;
  }

  /** A database with some rows, and everything of it stored. */
  async replicated(pageSize = 4096): Promise<DatabaseSync> {
    const db = createDatabase(this.path, { pageSize });
    insertRows(db, 200);
    await replicateOnce(this.t, this.path, this.url);
    return db;
  }

  /** `rivulet replicate`, which must end by itself with one clear error. */
  async refused(message: RegExp, args: readonly string[] = [this.path, this.url]): Promise<void> {
    assertClearError(await run(this.t, RIVULET, ['replicate', ...args]), message);
  }

  async restoreRefused(message: RegExp, args: readonly string[] = []): Promise<void> {
    const target = join(this.folder, 'never.db');
    assertClearError(await run(this.t, RIVULET, ['restore', ...args, '-o', target, this.url]), message);
    assert.equal(existsSync(target), false);
    assert.deepEqual(
      readdirSync(this.folder).filter((name) => name.startsWith('never')),
      [],
      'nothing half-done is left',
    );
  }

  async untilStored(): Promise<void> {
    await untilStored(this.t, this);
  }

  async endWhole(process: TestProcess): Promise<void> {
    await this.untilStored();
    assert.equal((await process.end()).status, 0, process.output);
    assertNoInsides(process.output);
    await this.assertWhole();
  }

  async assertWhole(): Promise<void> {
    assertContiguous(this.replica);
    const restored = await restoreReplica(this.t, this.folder, this.url);
    assert.equal(await dump(this.t, restored), await dump(this.t, this.path));
  }

  forgetLocalState(): void {
    rmSync(join(this.folder, '.app.db-rivulet'), { recursive: true });
  }

  l0(index: number): string {
    return join(this.replica, 'ltx', '0', l0Names(this.replica).at(index) ?? '');
  }
}

/** Every file of a folder and its bytes, by path. */
function contentsOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => join(entry.parentPath, entry.name)).map((path) => [path, readFileSync(path, 'latin1')]),
  );
}

function flipByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x40;
  writeFileSync(path, bytes);
}

describe('a configuration that is wrong', () => {
  test('is missing: the error names the places that were looked at', async (t) => {
    const place = new Place(t);
    const ended = await run(t, RIVULET, ['replicate'], { cwd: place.folder });
    assertClearError(ended, /config file not found: .*rivulet\.yml/);
    await place.refused(/config file not found: \/no\/such/, ['-config', '/no/such/file.yml']);
  });

  test('is no YAML, or has an unknown key: the error names the file, the line and the column', async (t) => {
    const place = new Place(t);
    const config = join(place.folder, 'broken.yml');
    const texts: readonly (readonly [string, RegExp])[] = [
      ['dbs:\n  - path: [unclosed\n', /broken\.yml:\d+:\d+/],
      [`dbs:\n  - path: ${place.path}\n    replcia: { url: '${place.url}' }\n`, /broken\.yml:3:5.*replcia/s],
      ['dbs: []\n', /names no database/],
      [`dbs:\n  - path: ${place.path}\n`, /broken\.yml.*replica/s],
    ];
    for (const [text, message] of texts) {
      writeFileSync(config, text);
      await place.refused(message, ['-config', config]);
    }
    assert.deepEqual(readdirSync(place.folder), ['broken.yml']);
  });
});

describe('a file that is no database', () => {
  for (const [what, bytes] of [
    ['text', Buffer.from('This is a letter, and no database at all.\n'.repeat(500))],
    ['random bytes, as an encrypted database looks', randomBytes(40_960)],
    ['the start of a database header and then nothing', Buffer.from('SQLite format 3\0')],
  ] as const) {
    test(`${what}: one error, and not a byte of it changes`, async (t) => {
      const place = new Place(t);
      writeFileSync(place.path, bytes);
      await place.refused(/app\.db is not a SQLite database/);
      assertSameBytes(readFileSync(place.path), bytes, 'the file');
      assert.deepEqual(l0Names(place.replica), []);
      assert.deepEqual(
        readdirSync(place.folder).filter((name) => /-(wal|shm|journal)$/.test(name)),
        [],
      );
    });
  }

  test('a folder: one error', async (t) => {
    const place = new Place(t);
    mkdirSync(place.path);
    await place.refused(/app\.db/);
  });
});

describe('a database that is not ready', { skip: skipWithout(SQLITE3) }, () => {
  test('is missing: it is waited for, and picked up', async (t) => {
    const place = new Place(t);
    const process = rivulet(t, ['replicate', '-config', writeConfig(place.path, place.url)]);
    await process.says(/msg=waiting .*there is no database yet/);
    const db = createDatabase(place.path);
    insertRows(db, 10);
    await place.endWhole(process);
    db.close();
  });

  test('is empty: it is waited for, and picked up', async (t) => {
    const place = new Place(t);
    writeFileSync(place.path, '');
    const process = rivulet(t, ['replicate', '-config', writeConfig(place.path, place.url)]);
    await process.says(/msg=waiting .*the database is empty/);
    const db = createDatabase(place.path);
    insertRows(db, 10);
    await place.endWhole(process);
    db.close();
  });

  test('-once does not wait, but says what is missing', async (t) => {
    const place = new Place(t);
    await place.refused(/app\.db: there is no database yet/, ['-once', place.path, place.url]);
  });

  test('is in rollback-journal mode and busy: that is said, and then it goes on', async (t) => {
    const place = new Place(t);
    const db = new DatabaseSync(place.path);
    db.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE; INSERT INTO t VALUES (2)');
    const process = rivulet(t, ['replicate', '-config', writeConfig(place.path, place.url)]);
    await process.says(/msg=waiting .*busy/);
    db.exec('COMMIT');
    await process.says(/switched the database to WAL mode/);
    db.exec('INSERT INTO t VALUES (3)');
    await place.endWhole(process);
    db.close();
  });

  test('is in rollback-journal mode with set-wal: false: one error, and its mode stays', async (t) => {
    const place = new Place(t);
    const db = new DatabaseSync(place.path);
    db.exec('CREATE TABLE t (a)');
    db.close();
    const before = readFileSync(place.path);
    const config = writeConfig(place.path, place.url, { 'set-wal': 'false' });
    await place.refused(/rollback-journal mode.*set-wal/s, ['-config', config]);
    assertSameBytes(readFileSync(place.path), before, 'the database');
  });
});

describe('a database that changes its place while it is replicated', { skip: skipWithout(SQLITE3) }, () => {
  test('another database is renamed over it: the replica follows', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    const process = await replicate(t, place.path, place.url);
    insertRows(db, 10);
    await place.untilStored();
    const other = createDatabase(join(place.folder, 'other.db'));
    other.exec('CREATE TABLE another (a)');
    insertRows(other, 100);
    other.close();
    db.close();
    renameSync(join(place.folder, 'other.db'), place.path);
    for (const suffix of ['-wal', '-shm']) rmSync(place.path + suffix, { force: true });
    const again = openDatabase(place.path);
    insertRows(again, 5);
    await place.endWhole(process);
    again.close();
  });

  test('something that is no database is put in its place: said, and it goes on once the database is back', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    const process = await replicate(t, place.path, place.url);
    insertRows(db, 10);
    await place.untilStored();
    db.close();
    renameSync(place.path, join(place.folder, 'aside.db'));
    writeFileSync(place.path, 'Not a database. '.repeat(100));
    await process.says(/level=ERROR .*not a SQLite database/);
    renameSync(join(place.folder, 'aside.db'), place.path);
    const again = openDatabase(place.path);
    insertRows(again, 3);
    await place.endWhole(process);
    again.close();
  });

  test('it is deleted and made anew: that is waited for, and the replica follows', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    const process = await replicate(t, place.path, place.url);
    insertRows(db, 10);
    await place.untilStored();
    db.close();
    const before = await restoreReplica(t, place.folder, place.url);
    for (const suffix of ['', '-wal', '-shm']) rmSync(place.path + suffix, { force: true });
    await process.says(/msg=waiting .*removed/);
    assertSameBytes(
      readFileSync(await restoreReplica(t, place.folder, place.url)),
      readFileSync(before),
      'what was stored of the deleted one is still there',
    );
    const again = createDatabase(place.path);
    insertRows(again, 7);
    await place.endWhole(process);
    again.close();
  });
});

describe('a database that is reached in unusual ways', { skip: skipWithout(SQLITE3) }, () => {
  test('through a symbolic link: it is replicated like any other', async (t) => {
    const place = new Place(t);
    mkdirSync(join(place.folder, 'real'));
    const db = createDatabase(join(place.folder, 'real', 'data.db'));
    symlinkSync(join('real', 'data.db'), place.path);
    const process = await replicate(t, place.path, place.url);
    await process.says(/ltx file uploaded/);
    insertRows(db, 10);
    await place.endWhole(process);
    db.close();
  });

  test('by names with spaces, quotes and signs that mean something in URLs', async (t) => {
    const place = new Place(t);
    const folder = join(place.folder, `o'clock "1" ü %20`);
    mkdirSync(folder);
    const path = join(folder, 'a?b #c&d.db');
    const db = createDatabase(path);
    insertRows(db, 10);
    const url = pathToFileURL(join(folder, 'the replica?')).href;
    await replicateOnce(t, path, url);
    assert.equal(await dump(t, await restoreReplica(t, place.folder, url)), await dump(t, path));
    assert.deepEqual(l0Kinds(join(folder, 'the replica?')), ['image']);
    db.close();
  });

  test('by two processes of one machine: the second is refused, the first goes on', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    const first = await replicate(t, place.path, place.url);
    await place.refused(/replicates .*app\.db already/);
    insertRows(db, 5);
    await place.endWhole(first);
    db.close();
  });
});

describe('a replica that is not whole', { skip: skipWithout(SQLITE3) }, () => {
  test('is empty: restore says so, and -if-replica-exists makes that no failure', async (t) => {
    const place = new Place(t);
    mkdirSync(place.replica);
    await place.restoreRefused(/holds no backup/);
    const target = join(place.folder, 'never.db');
    const ended = await run(t, RIVULET, ['restore', '-if-replica-exists', '-o', target, place.url]);
    assert.equal(ended.status, 0);
    assert.equal(existsSync(target), false);
  });

  test('has a flipped byte in its only image: refused, unless all pages are proven right; never built upon', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    db.close();
    const source = checkpointedBytes(place.path);
    const whole = readFileSync(place.l0(0));
    const half = Math.floor(whole.length / 2);
    for (const at of [
      2,
      10,
      14,
      30,
      60,
      82,
      103,
      150,
      half,
      half + 1,
      whole.length - 40,
      whole.length - 20,
      whole.length - 4,
    ]) {
      writeFileSync(place.l0(0), whole);
      flipByte(place.l0(0), at);
      const before = contentsOf(place.replica);
      const target = join(place.folder, `byte-${at}.db`);
      const ended = await run(t, RIVULET, ['restore', '-o', target, place.url]);
      if (ended.status === 0) assertSameBytes(readFileSync(target), source, `restored in spite of byte ${at}`);
      else assertClearError(ended, /0000000000000001/);
      assert.ok(ended.status !== 0 || at < 100 || at >= whole.length - 16, `byte ${at} is of a page or the index`);
      rmSync(join(place.folder, '.app.db-rivulet'), { recursive: true, force: true });
      await place.refused(/cannot be continued/);
      assert.deepEqual(contentsOf(place.replica), before, `byte ${at}`);
    }
  });

  test('has a gap: restore names what is missing and what can be had; replication does not build upon it', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    for (let i = 0; i < 3; i++) {
      insertRows(db, 5);
      await replicateOnce(t, place.path, place.url);
    }
    db.close();
    rmSync(place.l0(2));
    await place.restoreRefused(/gap: .*0000000000000003.*are missing/);
    const before = contentsOf(place.replica);
    await place.refused(/gap/, ['-once', place.path, place.url]);
    const target = join(place.folder, 'before-the-gap.db');
    const { status } = await run(t, RIVULET, ['restore', '-txid', '0000000000000002', '-o', target, place.url]);
    assert.equal(status, 0);
    place.forgetLocalState();
    await place.refused(/gap/);
    assert.deepEqual(contentsOf(place.replica), before);
  });

  test('carries another lineage: refused, with what would resolve it', async (t) => {
    const place = new Place(t);
    const db = await place.replicated();
    insertRows(db, 1);
    db.close();
    const identity = join(place.replica, 'rivulet.json');
    const text = readFileSync(identity, 'utf8');
    writeFileSync(identity, text.replace(/"lineage": "[0-9a-f]{4}/, '"lineage": "0123'));
    const before = contentsOf(place.replica);
    await place.refused(/another database.*Try: /s);
    assert.deepEqual(contentsOf(place.replica), before);
    writeFileSync(identity, text);
    await replicateOnce(t, place.path, place.url);
    await place.assertWhole();
  });

  test('is written to by two processes: one is refused, nobody loses a file', async (t) => {
    const places = [new Place(t), new Place(t)] as const;
    const { replica, url } = places[0];
    const databases = places.map(({ path }) => createDatabase(path));
    const processes = await Promise.all(places.map(({ path }) => replicate(t, path, url)));
    const seen = new Map<string, string>();
    const refused = await eventually('one of them is refused', () => {
      for (const db of databases) insertRows(db, 1);
      for (const [path, bytes] of contentsOf(replica)) {
        if (path.endsWith('.tmp')) continue;
        assert.equal(bytes, seen.get(path) ?? bytes, `${path} was overwritten`);
        seen.set(path, bytes);
      }
      const index = processes.findIndex(({ output }) => /somebody else wrote/.test(output));
      return index < 0 ? undefined : index;
    });
    const [loser, winner] = [processes[refused], processes[1 - refused]];
    const place = places[1 - refused];
    assert.ok(loser && winner && place);
    await untilStored(t, { ...place, url }, 'what the other one wrote');
    assert.equal((await loser.end()).status, 1, loser.output);
    assert.equal((await winner.end()).status, 0, winner.output);
    assertNoInsides(loser.output + winner.output);
    assertContiguous(replica);
    const restored = await restoreReplica(t, place.folder, url);
    assert.equal(await dump(t, restored), await dump(t, place.path));
    for (const db of databases) db.close();
  });
});

describe('a store that cannot be written to', { skip: skipWithout(SQLITE3) }, () => {
  test('lies beneath a regular file: one error, and the database is untouched', async (t) => {
    const place = new Place(t);
    const db = createDatabase(place.path);
    insertRows(db, 10);
    db.close();
    const before = readFileSync(place.path);
    writeFileSync(place.replica, 'a file');
    await place.refused(/replica/);
    await place.refused(/replica/, [place.path, `${place.url}/below`]);
    assertSameBytes(readFileSync(place.path), before, 'the database');
    assert.equal(readFileSync(place.replica, 'utf8'), 'a file');
  });
});
