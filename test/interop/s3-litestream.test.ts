import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { RGW, s3Server } from '../servers/rgw.ts';
import type { S3Server } from '../servers/s3-server.ts';
import { LITESTREAM } from '../support/litestream.ts';
import { eventually, RIVULET, runOk, TestProcess, workFolder } from '../support/processes.ts';
import {
  assertSameBytes,
  assertSameRows,
  createDatabase,
  dump,
  freshPath,
  insertRows,
  openDatabase,
  pathOf,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';

/** One database, one replica in a bucket, and two tools that take turns. */
class BucketRelay {
  readonly path: string;
  readonly url: string;
  readonly #t: TestContext;
  readonly #folder: string;
  readonly #server: S3Server;

  private constructor(t: TestContext, server: S3Server, bucket: string) {
    this.#t = t;
    this.#server = server;
    this.#folder = workFolder(t);
    this.path = join(this.#folder, 'app.db');
    this.url = server.url(bucket, 'team/app');
    const db = createDatabase(this.path);
    insertRows(db, 100);
    db.close();
  }

  static async make(t: TestContext): Promise<BucketRelay> {
    const server = await s3Server();
    return new BucketRelay(t, server, await server.newBucket());
  }

  rivuletTurn(): Promise<void> {
    return this.#turn(RIVULET);
  }

  litestreamTurn(): Promise<void> {
    return this.#turn(pathOf(LITESTREAM));
  }

  async #turn(program: string): Promise<void> {
    const config = join(dirname(this.path), 'turn.yml');
    // The same file for both.
    const replica = `url: '${this.url}'\n      sync-interval: 50ms`;
    writeFileSync(config, `dbs:\n  - path: ${this.path}\n    monitor-interval: 50ms\n    replica:\n      ${replica}\n`);
    const process = new TestProcess(this.#t, program, ['replicate', '-config', config], { env: this.#server.env });
    await process.says(/replicating to/);
    const db = openDatabase(this.path, 0);
    for (const rows of [20, 1, 200]) {
      insertRows(db, rows);
      db.exec('UPDATE item SET name = name || 1 WHERE id <= 10');
      await eventually('the replica holds everything', () => this.#holdsEverything());
    }
    db.close();
    assert.equal((await process.end()).status, 0, process.output);
    assert.doesNotMatch(process.output, /level=ERROR/);
    await this.#bothRestore();
  }

  async #holdsEverything(): Promise<true> {
    const path = freshPath(this.#folder);
    await runOk(this.#t, RIVULET, ['restore', '-o', path, this.url], { env: this.#server.env });
    assertSameRows(await dump(this.#t, path), await dump(this.#t, this.path));
    return true;
  }

  async #restore(program: string): Promise<string> {
    const path = freshPath(this.#folder);
    await runOk(this.#t, program, ['restore', '-o', path, this.url], { env: this.#server.env });
    return path;
  }

  async #bothRestore(): Promise<void> {
    const ours = await this.#restore(RIVULET);
    const theirs = await this.#restore(pathOf(LITESTREAM));
    assertSameBytes(readFileSync(ours), readFileSync(theirs), 'what the two restore');
    assert.equal(await dump(this.#t, ours), await dump(this.#t, this.path));
  }
}

describe('a bucket that Rivulet and Litestream share', { skip: skipWithout(RGW, LITESTREAM, SQLITE3) }, () => {
  test('Litestream restores what we stored and goes on with it, and we with that', async (t) => {
    const relay = await BucketRelay.make(t);
    await relay.rivuletTurn();
    await relay.litestreamTurn();
    await relay.rivuletTurn();
  });

  test('we restore what Litestream stored and go on with it, and Litestream with that', async (t) => {
    const relay = await BucketRelay.make(t);
    await relay.litestreamTurn();
    await relay.rivuletTurn();
    await relay.litestreamTurn();
  });
});
