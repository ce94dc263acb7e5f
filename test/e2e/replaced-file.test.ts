import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BUCKET, FakeS3, KEY, REGION } from '../support/fake-s3.ts';
import { eventually, RIVULET, rivulet, runOk, workFolder } from '../support/processes.ts';
import { createDatabase, dump, freshPath, insertRows, openDatabase, SQLITE3, skipWithout } from '../support/tools.ts';

const ENV = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };
const FIRST = '0000/0000000000000001-0000000000000001.ltx';

test('on a store that does not decide creates, a file replaced by another writer is noticed, and the next start mends it', {
  skip: skipWithout(SQLITE3),
}, async (t) => {
  const fake = await FakeS3.start(t, { conditionalWrites: 'ignored' });
  const url = (path: string): string => `s3://${BUCKET}/${path}?endpoint=${fake.server.origin}&region=${REGION}`;
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const other = join(folder, 'other.db');
  const db = createDatabase(path);
  insertRows(db, 200);
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  copyFileSync(path, other);
  const otherDb = openDatabase(other);
  otherDb.exec('UPDATE item SET name = 1');
  otherDb.close();
  await runOk(t, RIVULET, ['replicate', '-once', other, url('other')], { env: ENV });

  const process = rivulet(t, ['replicate', path, url('app')], { env: ENV });
  await eventually('the first file is stored', () => fake.objects.has('app/rivulet.json') || undefined);
  fake.store(`app/${FIRST}`, fake.objects.get(`other/${FIRST}`)?.bytes ?? '');
  insertRows(db, 1);
  const { status } = await process.ended;
  assert.equal(status, 1, process.output);
  assert.match(process.output, /somebody else replaced .*0000000000000001\.ltx/);
  insertRows(db, 1);
  db.close();

  await runOk(t, RIVULET, ['replicate', '-once', path, url('app')], { env: ENV });
  const restored = freshPath(folder);
  await runOk(t, RIVULET, ['restore', '-o', restored, url('app')], { env: ENV });
  assert.equal(await dump(t, restored), await dump(t, path));
});
