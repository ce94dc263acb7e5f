import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { BUCKET, FakeS3, KEY, REGION } from '../support/fake-s3.ts';
import { eventually, RIVULET, rivulet, runOk, workFolder } from '../support/processes.ts';
import { s3Error } from '../support/scripted-server.ts';
import { createDatabase, dump, freshPath, insertRows, SQLITE3, skipWithout } from '../support/tools.ts';

const ENV = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };

async function setUp(t: TestContext) {
  const fake = await FakeS3.start(t);
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const url = `s3://${BUCKET}/app?endpoint=${fake.server.origin}&region=${REGION}`;
  const config = join(folder, 'rivulet.yml');
  const settings = `max-spool-bytes: 100KB, replica: { url: '${url}', sync-interval: 50ms }`;
  writeFileSync(config, `dbs: [{ path: '${path}', ${settings} }]\n`);
  const db = createDatabase(path);
  insertRows(db, 10);
  const assertStored = async (): Promise<void> => {
    const restored = freshPath(folder);
    await runOk(t, RIVULET, ['restore', '-o', restored, url], { env: ENV });
    assert.equal(await dump(t, restored), await dump(t, path));
  };
  return { fake, path, config, db, assertStored };
}

describe('a comparison whose file alone is more than the spool may hold', { skip: skipWithout(SQLITE3) }, () => {
  test('is no failure of -once', async (t) => {
    const { config, db, assertStored } = await setUp(t);
    for (let i = 0; i < 2; i++) {
      await runOk(t, RIVULET, ['replicate', '-once', '-config', config], { env: ENV });
      await assertStored();
      insertRows(db, 100, 3000);
      db.exec('PRAGMA wal_checkpoint(TRUNCATE)'); // so that there is something to compare
    }
    db.close();
  });

  test('is stored by a stop once the store is back', async (t) => {
    const { fake, config, db, assertStored } = await setUp(t);
    const process = rivulet(t, ['replicate', '-config', config], { env: ENV });
    await eventually('the first file is stored', () => fake.objects.has('app/rivulet.json') || undefined);
    fake.instead = () => s3Error(503, 'ServiceUnavailable', { headers: { 'Retry-After': '0' } });
    insertRows(db, 100, 3000);
    await process.says(/msg="capture suspended"/);
    insertRows(db, 100, 3000);
    db.close();
    fake.instead = undefined;
    assert.equal((await process.end()).status, 0, process.output);
    await assertStored();
  });
});
