import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Logger } from '../../src/base/log.ts';
import { SpoolRoom } from '../../src/daemon/spool-room.ts';
import { tempFolder } from '../support/temp.ts';

test('files of an earlier run are given up once they are seven times as large as what is left of the disk', (t) => {
  const folder = tempFolder(t);
  const spool = join(folder, '.app.db-rivulet', 'spool');
  mkdirSync(spool, { recursive: true });
  const messages: string[] = [];
  const logger: Logger = { log: (_level, message) => void messages.push(message), with: () => logger };
  using room = new SpoolRoom(join(folder, 'app.db'), join(folder, '.app.db-rivulet'), logger);
  const { bavail, bsize } = statfsSync(folder);
  // Files with holes take no room.
  const hold = (factor: number): void => {
    const path = join(spool, '0000000000000002-0000000000000002.ltx');
    writeFileSync(path, '');
    truncateSync(path, Math.floor(bavail * bsize * factor));
  };
  hold(6);
  room.relieve();
  assert.equal(readdirSync(spool).length, 1);
  hold(8);
  room.relieve();
  assert.equal(readdirSync(spool).length, 1, 'where the database is gone, they are all there is');
  writeFileSync(join(folder, 'app.db'), '');
  room.relieve();
  room.relieve();
  assert.deepEqual(readdirSync(spool), []);
  assert.deepEqual(messages, ['gave up files that were not stored']);
  using nowhere = new SpoolRoom(join(folder, 'app.db'), join(folder, 'nowhere'), logger);
  nowhere.relieve();
});
