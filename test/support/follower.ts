import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { isBusy } from '../../src/sqlite/sqlite-error.ts';
import { undoAfter, workFolder } from './processes.ts';

interface SetupOptions {
  readonly maxPendingBytes: number;
  readonly cut?: () => void;
}

/** A database, its application, and who follows it. */
export class FollowerSetup {
  readonly path: string;
  readonly app: DatabaseSync;
  readonly gauges = new CaptureGauges();
  readonly settings;
  readonly follower: WalFollower;
  refusals = 0;

  private constructor(t: TestContext, { maxPendingBytes, cut }: SetupOptions) {
    const folder = workFolder(t);
    this.path = join(folder, 'app.db');
    this.app = new DatabaseSync(this.path);
    this.app.exec('PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(v); INSERT INTO t VALUES (1)');
    const urgentFrames = Number.POSITIVE_INFINITY;
    this.settings = { pageSize: 4096, scratchFolder: folder, busyTimeoutMs: 1000, maxPendingBytes, urgentFrames };
    const listener = {
      cut: (): void => {
        this.follower.markStored();
        cut?.();
      },
    };
    this.follower = new WalFollower(this.path, this.settings, listener, this.gauges);
    undoAfter(t, () => {
      this.app.close();
      this.follower[Symbol.dispose]();
    });
  }

  /** One that stands at the newest commit. */
  static async begin(t: TestContext, options: SetupOptions): Promise<FollowerSetup> {
    const setup = new FollowerSetup(t, options);
    using wal = setup.follower.openWal();
    using _ = await setup.follower.standAt(setup.follower.beginExactly(), wal);
    return setup;
  }

  /** Somebody keeps others from committing. */
  get isHeldUp(): boolean {
    try {
      this.app.exec('BEGIN IMMEDIATE; ROLLBACK');
      return false;
    } catch (error) {
      if (!isBusy(error)) throw error;
      return true;
    }
  }

  commit(bytes: number): void {
    try {
      this.app.exec(`INSERT INTO t VALUES (randomblob(${bytes}))`);
    } catch (error) {
      if (!isBusy(error)) throw error;
      this.refusals++;
    }
  }
}
