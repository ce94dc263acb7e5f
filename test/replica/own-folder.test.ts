import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { lockOwner } from '../../src/replica/owner-lock.ts';
import { tempFolder } from '../support/temp.ts';

const DATABASE = '/elsewhere/app.db';

function write(folder: string, name: string, content = 'not ours'): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), content);
}

function lockAndRelease(folder: string, databasePath = DATABASE): void {
  lockOwner(databasePath, folder)[Symbol.dispose]();
}

describe('a folder that is to be Rivulet’s own', () => {
  for (const name of [
    'state',
    'journal.txt',
    'spool/mail/root',
    'spool/root',
    'spool',
    'journal/today',
    'lock/a',
    'x',
  ]) {
    test(`is refused where ${name} is somebody else's, and nothing is touched`, (t) => {
      const folder = join(tempFolder(t), 'meta');
      write(folder, name);
      assert.throws(() => lockAndRelease(folder), { code: 'META_PATH_TAKEN' });
      assert.ok(existsSync(join(folder, name)));
      assert.deepEqual(readdirSync(folder), [name.split('/')[0]]);
    });
  }

  for (const name of ['state', 'lock', 'app.db', 'spool']) {
    test(`is refused where the database itself is in it, as ${name}, by whatever way`, (t) => {
      const folder = tempFolder(t);
      mkdirSync(join(folder, 'data'));
      symlinkSync(join(folder, 'data'), join(folder, 'link'));
      assert.throws(() => lockAndRelease(join(folder, 'link'), join(folder, 'data', name)), {
        code: 'META_PATH_TAKEN',
      });
      assert.deepEqual(readdirSync(join(folder, 'data')), []);
    });
  }

  test('is taken where it is new, empty, used before, left by a restore, or damaged where only its lock tells', (t) => {
    const folder = join(tempFolder(t), 'new', 'meta');
    lockAndRelease(folder);
    write(folder, 'state');
    write(folder, 'spool/x');
    lockAndRelease(folder);
    const restored = join(tempFolder(t), 'meta');
    write(restored, 'state', 'xxxx{"format":1 and so on');
    write(restored, 'state.123-00aa.tmp', '');
    write(restored, 'snapshot.tmp');
    write(restored, 'events');
    write(restored, 'journal');
    write(restored, 'unstored-20260101T000000Z/0000000000000001-0000000000000001.ltx');
    write(restored, 'spool/0000000000000001-0000000000000001.ltx');
    lockAndRelease(restored);
    assert.deepEqual(readdirSync(restored).sort(), [
      'events',
      'journal',
      'lock',
      'snapshot.tmp',
      'spool',
      'state',
      'unstored-20260101T000000Z',
    ]);
  });
});
