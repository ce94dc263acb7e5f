import assert from 'node:assert/strict';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { RIVULET, replicate, replicateOnce, run, workFolder } from '../support/processes.ts';
import {
  assertClearError,
  createDatabase,
  dump,
  insertRows,
  l0Kinds,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';

describe('a replica whose folder vanishes while it is written to', { skip: skipWithout(SQLITE3) }, () => {
  test('for good: nothing is stored beside what is lost, status 1, and the next start begins anew', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const replica = join(folder, 'replica');
    const url = `file://${replica}`;
    const db = createDatabase(path);
    const process = await replicate(t, path, url);
    await process.says(/ltx file uploaded/);
    rmSync(replica, { recursive: true });
    insertRows(db, 5);
    await process.says(/has vanished/);
    process.signal('SIGINT');
    process.signal('SIGTERM');
    assert.equal((await process.ended).status, 1, process.output);
    assert.equal(existsSync(replica), false, 'no folder was made in its place');

    await replicateOnce(t, path, url);
    assert.equal(l0Kinds(replica)[0], 'image');
    assert.equal(await dump(t, await restoreReplica(t, folder, url)), await dump(t, path));
    db.close();
  });

  test('for a while: what was committed meanwhile is stored once it is back', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const replica = join(folder, 'replica');
    const url = `file://${replica}`;
    const db = createDatabase(path);
    const process = await replicate(t, path, url);
    await process.says(/ltx file uploaded/);
    renameSync(replica, `${replica}-away`);
    insertRows(db, 5);
    await process.says(/has vanished/);
    renameSync(`${replica}-away`, replica);
    insertRows(db, 5);
    await untilStored(t, { folder, path, url });
    assert.equal((await process.end()).status, 0, process.output);
    db.close();
  });

  test('leaves an identity without files: that is not an empty replica', async (t) => {
    const folder = workFolder(t);
    const path = join(folder, 'app.db');
    const replica = join(folder, 'replica');
    const url = `file://${replica}`;
    createDatabase(path).close();
    await replicateOnce(t, path, url);
    rmSync(join(replica, 'ltx'), { recursive: true });
    const output = join(folder, 'new.db');
    const restored = await run(t, RIVULET, ['restore', '-if-replica-exists', '-o', output, url]);
    assertClearError(restored, /has an identity .* but no LTX files/);
    const started = await run(t, RIVULET, ['replicate', '-restore-if-db-not-exists', '-once', output, url]);
    assertClearError(started, /has an identity .* but no LTX files/);
  });
});

test('an application that ignores the signals: giving up says that it goes on without us, status 1', async (t) => {
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  createDatabase(path).close();
  const stop = join(folder, 'stop');
  const command = `sh -c "trap '' TERM INT; echo application runs; until [ -e ${stop} ]; do sleep 0.1; done"`;
  const process = await replicate(t, path, `file://${join(folder, 'replica')}`, ['-exec', command]);
  await process.says(/application runs/);
  process.signal('SIGINT');
  process.signal('SIGTERM');
  await process.says(/it still runs/);
  writeFileSync(stop, '');
  assert.equal((await process.ended).status, 1, process.output);
});
