import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { BUCKET, FakeS3, KEY, REGION } from '../support/fake-s3.ts';
import { RIVULET, rivulet, runOk, workFolder } from '../support/processes.ts';
import { ScriptedServer, s3Error } from '../support/scripted-server.ts';
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

test('the store is asked about several databases at a time: one that does not answer keeps them waiting only once', async (t) => {
  const server = await ScriptedServer.start(t, () => 'hang');
  const folder = workFolder(t);
  const config = join(folder, 'rivulet.yml');
  const dbs = ['a', 'b', 'c', 'd'].map((name) => {
    createDatabase(join(folder, `${name}.db`)).close();
    const url = `s3://${BUCKET}/${name}?endpoint=${server.origin}&region=${REGION}`;
    return `{ path: '${join(folder, name)}.db', replica: { url: '${url}' } }`;
  });
  writeFileSync(config, `dbs: [${dbs.join(', ')}]`);
  const process = rivulet(t, ['replicate', '-config', config], { env: ENV });
  await server.received(4); // none of them is ever answered
  const { status } = await process.end('SIGTERM');
  assert.equal(status, 1, process.output);
  assert.equal(process.output.match(/msg="not replicated: /g)?.length, 4);
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

test('a store that did not answer at the start is asked no more often than it wants, and a stop waits for it no longer than its limit', {
  timeout: 60_000, // only there to end it: it would wait for minutes
}, async (t) => {
  const fake = await FakeS3.start(t);
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  createDatabase(path).close();
  const url = `s3://${BUCKET}/app?endpoint=${fake.server.origin}&region=${REGION}`;
  await runOk(t, RIVULET, ['replicate', '-once', path, url], { env: ENV });
  const config = join(folder, 'rivulet.yml');
  writeFileSync(config, `shutdown-sync-timeout: 1s\ndbs: [{ path: '${path}', replica: { url: '${url}' } }]\n`);

  fake.instead = () => s3Error(503, 'SlowDown', { headers: { 'Retry-After': '99999999' } });
  const process = rivulet(t, ['replicate', '-config', config], { env: ENV });
  await process.says(/the store does not answer/);
  fake.instead = () => 'hang';
  const { status } = await process.end('SIGTERM');
  assert.equal(status, 1, process.output);
  assert.match(
    process.output,
    /msg="not stored: the last commits of \S+app\.db" because="cannot read .* asks to slow down/,
  );
  assert.doesNotMatch(process.output, /TimeoutOverflowWarning/);
});

test('a store that denies on its way back is waited for as well', async (t) => {
  const fake = await FakeS3.start(t);
  const path = join(workFolder(t), 'app.db');
  createDatabase(path).close();
  const url = `s3://${BUCKET}/app?endpoint=${fake.server.origin}&region=${REGION}`;
  await runOk(t, RIVULET, ['replicate', '-once', path, url], { env: ENV });
  fake.instead = () => s3Error(500, 'InternalError');
  const process = rivulet(t, ['replicate', path, url], { env: ENV });
  await process.says(/the store does not answer/);
  let denials = 0;
  fake.instead = () => (denials++ === 0 ? s3Error(403, 'AccessDenied') : undefined);
  await process.says(/the store answers again/);
  assert.equal((await process.end()).status, 0, process.output);
});
