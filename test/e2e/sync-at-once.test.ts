import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { BUCKET, FakeS3, KEY, REGION } from '../support/fake-s3.ts';
import { eventually, RIVULET, rivulet, runOk, sleep, workFolder } from '../support/processes.ts';
import { createDatabase, dump, freshPath, insertRows, SQLITE3, skipWithout } from '../support/tools.ts';

const ENV = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };
const PUT_MS = 300;
const COMMITS = 250;
/** Any interval shorter than an upload: what comes first decides. */
const SHORTEST = '0';

const WRITER = `
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
const db = new DatabaseSync(process.argv[1], { timeout: 20000 });
const insert = db.prepare("INSERT INTO item (name, body) VALUES (?, randomblob(200))");
for (let i = 0; i < ${COMMITS}; i++) {
  insert.run('commit ' + i);
  await sleep(5);
}
db.close();
`;

describe('the shortest sync-interval, with a store that takes 300 ms for each file', {
  skip: skipWithout(SQLITE3),
}, () => {
  test('stores at once, and what arrives meanwhile in one file; nothing is asked of the store when nothing happens', async (t) => {
    const fake = await FakeS3.start(t, {
      instead: async ({ operation }) => {
        if (operation === 'put') await sleep(PUT_MS);
        return undefined;
      },
    });
    const files = (): number => [...fake.objects.keys()].filter((key) => key.endsWith('.ltx')).length;
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const url = `s3://${BUCKET}/app?endpoint=${fake.server.origin}&region=${REGION}`;
    const config = join(folder, 'rivulet.yml');
    writeFileSync(config, `dbs: [{ path: '${path}', replica: { url: '${url}', sync-interval: ${SHORTEST} } }]\n`);
    const db = createDatabase(path);
    const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config], { env: ENV });
    await process.says(/msg="ltx file uploaded"/);
    const newestIs = async (): Promise<true | undefined> => {
      const restored = freshPath(folder);
      await runOk(t, RIVULET, ['restore', '-o', restored, url], { env: ENV });
      return (await dump(t, restored)) === (await dump(t, path)) || undefined;
    };

    // Each of these is alone, and has a file of its own.
    for (let i = 0; i < 3; i++) {
      const before = files();
      insertRows(db, 1);
      await eventually('it is stored', () => files() === before + 1 || undefined);
    }

    const before = files();
    const sinceMs = performance.now();
    await runOk(t, globalThis.process.execPath, [
      '--disable-warning=ExperimentalWarning',
      '--input-type=module',
      '-e',
      WRITER,
      '--',
      path,
    ]);
    const uploads = (performance.now() - sinceMs) / PUT_MS;
    const then = files();
    t.diagnostic(`${COMMITS} commits: ${then - before} files where ${uploads.toFixed(1)} uploads fit`);
    assert.ok(then - before <= uploads + 1);
    await eventually('every commit is stored', newestIs);
    // One was under way when the last commit was made, and one has what came in meanwhile.
    assert.ok(files() - then <= 3, `${files() - then} files after the last commit`);

    const asked = fake.calls.length;
    await sleep(1000);
    assert.deepEqual(fake.operations().slice(asked), []);
    assert.equal((await process.end()).status, 0, process.output);
    db.close();
  });
});
