import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../src/base/log.ts';
import { DatabaseCapture } from '../../src/capture/database-capture.ts';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import type { SpooledFile } from '../../src/capture/l0-writer.ts';
import type { CaptureSettings, CaptureState } from '../../src/capture/options.ts';
import { loadLocalPosition, metaPathFor } from '../../src/replica/local-state.ts';
import { Image } from './image.ts';
import { type SqliteProcess, sqliteProcess } from './sqlite-process.ts';
import { tempFolder } from './temp.ts';

export const REPLICA_URL = 'file:///replica';

/** For tests: files are cut soon, and nobody waits long. */
export function captureSettings(path: string): CaptureSettings {
  return {
    path,
    metaPath: metaPathFor(path),
    replicaUrl: REPLICA_URL,
    lineage: undefined,
    syncIntervalMs: 50,
    monitorIntervalMs: 100,
    busyTimeoutMs: 1000,
    minCheckpointPages: 1000,
    checkpointIntervalMs: 60_000,
    truncatePages: 0,
    maxSyncWalBytes: 64 * 1024 * 1024,
    maxSpoolBytes: 1024 * 1024 * 1024,
    setWal: true,
  };
}

/** A capture in this thread whose files are applied to an image as they come: what a restore would give. It ends with the test. */
export class CaptureHarness {
  readonly path: string;
  readonly image: Image;
  readonly files: SpooledFile[] = [];
  readonly states: CaptureState[] = [];
  readonly messages: string[] = [];
  timesGivenUp = 0;
  readonly gauges = new CaptureGauges();
  /** How far a comparison was, 0 to 1. */
  readonly progress: number[] = [];
  readonly capture: DatabaseCapture;
  readonly done: Promise<void>;

  /** Starts from what an earlier harness left in the local state and its image, or from nothing. */
  constructor(
    t: TestContext,
    path: string,
    options: { settings?: Partial<CaptureSettings>; after?: CaptureHarness; storeFiles?: boolean } = {},
  ) {
    this.path = path;
    this.image = options.after?.image ?? new Image();
    const metaPath = metaPathFor(path);
    const position = options.after ? loadLocalPosition(metaPath) : undefined;
    const logger: Logger = { log: (_level, message) => void this.messages.push(message), with: () => logger };
    const settings = { ...captureSettings(path), ...options.settings };
    this.capture = new DatabaseCapture(
      settings,
      { position, spooledBytes: 0, storedTxid: position?.txid ?? 0n },
      {
        state: (next) => void this.states.push(next),
        progress: (doneBytes, totalBytes) => void this.progress.push(doneBytes / totalBytes),
        starved: () => undefined,
        gaveUp: () => void this.timesGivenUp++,
        spooled: (file) => {
          this.files.push(file);
          this.image.apply(file.path);
          if (options.storeFiles !== false) setImmediate(() => this.capture.stored(file));
        },
      },
      logger,
      this.gauges,
    );
    this.done = this.capture.run();
    t.after(() => this.stop().catch(() => {}));
  }

  /** Handovers that were made. */
  get handovers(): number {
    return this.gauges.get('handoversDone');
  }

  get kinds(): string[] {
    return this.files.map((file) => file.kind);
  }

  async stop(): Promise<void> {
    this.capture.stop();
    await this.done;
  }

  /** Waits for `condition`, for as long as a slow machine may take. */
  async until(condition: () => boolean, what: string): Promise<void> {
    for (let tries = 0; !condition(); tries++) {
      if (tries > 3000) throw new Error(`gave up waiting until ${what}; log: ${this.messages.join('; ')}`);
      await delay(10);
    }
  }
}

/** A database with 200 rows, and an application that has it open in another process: locks are real there. */
export interface Setup {
  readonly path: string;
  readonly app: SqliteProcess;
}

export async function setUp(t: TestContext, pragmas = ''): Promise<Setup> {
  const path = join(tempFolder(t), 'app.db');
  const app = await sqliteProcess(t, path);
  await app.run(`${pragmas} PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0;
    CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200) INSERT INTO t SELECT x, randomblob(500) FROM c`);
  return { path, app };
}

/** The image equals the database file once everything is checkpointed into it. */
export async function assertEqual({ path, app }: Setup, harness: CaptureHarness): Promise<void> {
  await app.run('PRAGMA wal_checkpoint(TRUNCATE)');
  assert.deepEqual(harness.image.differences(readFileSync(path)), []);
}
