import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { FaultProxy } from '../servers/fault-proxy.ts';
import { RGW, s3Server } from '../servers/rgw.ts';
import type { S3Server } from '../servers/s3-server.ts';
import { eventually, RIVULET, rivulet, runOk, type TestProcess, workFolder } from '../support/processes.ts';
import {
  createDatabase,
  dump,
  freshPath,
  insertRows,
  integrityOf,
  openDatabase,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';

/** A database that is replicated to a bucket behind a network that can fail. */
interface Outage {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  readonly server: S3Server;
  readonly proxy: FaultProxy;
  readonly process: TestProcess;
  /** Files that wait on this machine. */
  spooled(): string[];
}

async function setUp(t: TestContext, settings: readonly string[] = []): Promise<Outage> {
  const server = await s3Server();
  const bucket = await server.newBucket();
  const proxy = await FaultProxy.start(server.port);
  t.after(() => proxy.close());
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = createDatabase(path);
  insertRows(db, 10);
  db.close();
  const through = server.url(bucket, 'app', `http://127.0.0.1:${proxy.port}`);
  const config = join(folder, 'rivulet.yml');
  writeFileSync(
    config,
    [
      'dbs:',
      `  - path: ${path}`,
      ...settings.map((line) => `    ${line}`),
      `    replica: { url: '${through}', sync-interval: 50ms }`,
      '',
    ].join('\n'),
  );
  const process = rivulet(t, ['replicate', '-log-level', 'debug', '-config', config], { env: server.env });
  await process.says(/msg="ltx file uploaded" .*txid=0000000000000001/);
  const spool = join(folder, '.app.db-rivulet', 'spool');
  const spooled = (): string[] =>
    existsSync(spool)
      ? readdirSync(spool, { recursive: true, encoding: 'utf8' }).filter((name) => /\.ltx$/.test(name))
      : [];
  return { folder, path, url: server.url(bucket, 'app'), server, proxy, process, spooled };
}

/** Commits `count` times, each into a file of its own; the application is not held up. */
async function commitWhileAway({ path, spooled }: Outage, count: number): Promise<void> {
  const db = openDatabase(path);
  for (let i = 1; i <= count; i++) {
    insertRows(db, 20);
    await eventually('the commits are in a file of their own', () => spooled().length >= i || undefined);
  }
  db.close();
}

/** The rows that the replica restores to are those of the live database. */
async function assertNothingIsMissing(t: TestContext, { folder, path, url, server }: Outage): Promise<void> {
  const restored = freshPath(folder);
  await runOk(t, RIVULET, ['restore', '-o', restored, url], { env: server.env });
  assert.equal(await dump(t, restored), await dump(t, path));
}

describe('a store that is away for a long time', { skip: skipWithout(RGW, SQLITE3) }, () => {
  test('commits wait on this machine, its return needs no start, and nothing is missing', async (t) => {
    const outage = await setUp(t);
    const { path, proxy, process } = outage;
    await proxy.down();
    await commitWhileAway(outage, 5);
    await process.says(
      /level=ERROR msg="cannot store: commits are kept on this machine.*waiting=\d+ bytes=\d+ behind=/,
    );
    assert.ok(process.isRunning);

    await proxy.up();
    await process.says(/level=INFO msg="the store is back, and everything is stored" .*after=.* files=\d+/);
    await eventually('what is stored is not kept', () => outage.spooled().length <= 1 || undefined);
    assert.equal((await process.end()).status, 0, process.output);
    assert.equal(integrityOf(path), 'ok');
    await assertNothingIsMissing(t, outage);
  });

  test('the same where the network swallows everything', async (t) => {
    const outage = await setUp(t);
    const { proxy, process } = outage;
    proxy.faults = { blackHole: true };
    await commitWhileAway(outage, 5);
    proxy.faults = {};
    proxy.reset(); // or else the request that hangs would be waited for
    assert.equal((await process.end()).status, 0, process.output);
    await assertNothingIsMissing(t, outage);
  });

  test('past the limit no more is kept, the WAL does not grow, and a comparison makes up for it', async (t) => {
    const outage = await setUp(t, ['max-spool-bytes: 300KB', 'min-checkpoint-page-count: 50']);
    const { path, proxy, process } = outage;
    await proxy.down();
    const db = openDatabase(path, 0);
    await eventually('capture is suspended', () => {
      insertRows(db, 100, 2000);
      return /more than 300000 bytes wait for the store/.test(process.output) || undefined;
    });
    // The application goes on, and its WAL is checkpointed all the same.
    await eventually('the WAL starts anew', () => {
      insertRows(db, 10);
      const { log = 0 } = { ...db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get() };
      return Number(log) < 100 || undefined;
    });
    db.close();
    await proxy.up();
    await process.says(/msg="the store is back, and everything is stored"/);
    assert.equal((await process.end()).status, 0, process.output);
    await assertNothingIsMissing(t, outage);
  });

  test('a replicator that is killed meanwhile stores what waited when it is started again', async (t) => {
    const outage = await setUp(t);
    const { path, proxy, process } = outage;
    await proxy.down();
    const db = openDatabase(path);
    insertRows(db, 50);
    await eventually('the commits are in a file', () => outage.spooled().length >= 1 || undefined);
    db.close();
    await process.end('SIGKILL');
    await proxy.up();
    await runOk(t, RIVULET, ['replicate', '-once', path, outage.url], { env: outage.server.env });
    await assertNothingIsMissing(t, outage);
  });

  test('where the store is away at the start the application starts all the same, and its commits follow', async (t) => {
    const outage = await setUp(t);
    const { folder, path, proxy, process, server } = outage;
    assert.equal((await process.end()).status, 0);
    await proxy.down();
    const config = join(folder, 'rivulet.yml');
    const application = `sh -c 'sqlite3 -cmd ".timeout 10000" ${path} "INSERT INTO item (name) VALUES (1)"; echo started; exec sleep 600'`;
    const again = rivulet(t, ['replicate', '-config', config, '-exec', application], { env: server.env });
    await again.says(/level=ERROR msg="the store does not answer: the database is not replicated until it does"/);
    await again.says(/^started$/m);
    await proxy.up();
    await again.says(/msg="the store answers again"/);
    await again.end();
    await assertNothingIsMissing(t, outage);
  });

  test('where the store is away at the start the WAL is checkpointed and measured all the same', async (t) => {
    const outage = await setUp(t, ['min-checkpoint-page-count: 50']);
    const { folder, path, proxy, process, server } = outage;
    await process.end();
    await proxy.down();
    const config = join(folder, 'rivulet.yml');
    appendFileSync(config, 'addr: 127.0.0.1:0\n');
    const again = rivulet(t, ['replicate', '-config', config], { env: server.env });
    const [, metrics = ''] = await again.says(/url="?(http:\S+\/metrics)/);
    await again.says(/msg="the store does not answer/);
    const db = openDatabase(path, 0);
    const generation = (): string => readFileSync(`${path}-wal`).toString('hex', 16, 24);
    for (let times = 0; times < 3; times++) {
      const before = generation();
      insertRows(db, 200, 2000);
      await eventually('the next commit begins the WAL anew', () => {
        insertRows(db, 1);
        return generation() !== before || undefined;
      });
    }
    const text = await (await fetch(metrics)).text();
    assert.ok(Number(/rivulet_wal_most_bytes\{.*\} (\d+)/.exec(text)?.[1]) > 50 * 4096, text);
    assert.match(text, /rivulet_handovers_total\{.*outcome="done"\} [1-9]/);
    assert.ok(Number(/rivulet_database_bytes\{.*\} (\d+)/.exec(text)?.[1]) > 600 * 2000, text);
    db.close();
    await proxy.up();
    await again.says(/msg="the store answers again"/);
    assert.equal((await again.end()).status, 0, again.output);
    await assertNothingIsMissing(t, outage);
  });

  test('a stop while the store is still away says what is not stored, and the next start stores it', async (t) => {
    const outage = await setUp(t);
    const { folder, path, proxy, process, server, url } = outage;
    await process.end();
    await proxy.down();
    const again = rivulet(t, ['replicate', '-config', join(folder, 'rivulet.yml')], { env: server.env });
    await again.says(/msg="the store does not answer/);
    const db = openDatabase(path);
    insertRows(db, 5);
    db.close();
    const { status, stdout } = await again.end();
    assert.equal(status, 1);
    assert.match(
      stdout,
      /level=ERROR msg="not stored: the last commits of .*" .*kept="the database has what was committed/,
    );
    await proxy.up();
    await runOk(t, RIVULET, ['replicate', '-once', path, url], { env: server.env });
    await assertNothingIsMissing(t, outage);
  });

  test('a database that was never replicated there does not start while nobody knows what is there', async (t) => {
    const { folder, proxy, process, server } = await setUp(t);
    await process.end();
    await proxy.down();
    const config = join(folder, 'rivulet.yml');
    rmSync(join(folder, '.app.db-rivulet'), { recursive: true });
    const again = rivulet(t, ['replicate', '-config', config, '-exec', 'echo started'], { env: server.env });
    const { status, stdout, stderr } = await again.ended;
    assert.equal(status, 1);
    assert.match(stderr, /^Error: .*refuses the connection/m);
    assert.doesNotMatch(stdout, /^started$/m);
  });
});
