import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { BUCKET, KEY, REGION } from '../support/fake-s3.ts';
import { rivulet, workFolder } from '../support/processes.ts';
import { ScriptedServer } from '../support/scripted-server.ts';
import { createDatabase, insertRows } from '../support/tools.ts';

const ENV = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };

test('replicate that waits for an answer of the store to begin with ends when asked to, and says what is not stored', async (t) => {
  const server = await ScriptedServer.start(t, () => 'hang');
  const path = join(workFolder(t), 'app.db');
  const db = createDatabase(path);
  insertRows(db, 10);
  db.close();
  const url = `s3://${BUCKET}/app?endpoint=${server.origin}&region=${REGION}`;
  for (const more of [[], ['-restore-if-db-not-exists']]) {
    const asked = server.requests.length;
    const process = rivulet(t, ['replicate', ...more, path, url], { env: ENV });
    await server.received(asked + 1);
    const { status } = await process.end('SIGTERM');
    assert.equal(status, 1, process.output);
    assert.match(process.output, /level=ERROR msg="not replicated: \S+app\.db" because=/);
  }
});

test('replicate that waits for a busy database says when it ends that its commits are not stored', async (t) => {
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = new DatabaseSync(path);
  db.exec('CREATE TABLE item (id); BEGIN EXCLUSIVE; INSERT INTO item VALUES (1)');
  const process = rivulet(t, ['replicate', path, `file://${folder}/replica`]);
  await process.says(/msg=waiting .*reason="the database is busy/);
  const { status } = await process.end('SIGTERM');
  db.close();
  assert.equal(status, 1, process.output);
  assert.match(process.output, /msg="not stored: the last commits of \S+app\.db" because="the database is busy/);
});
