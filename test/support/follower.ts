import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { isBusy } from '../../src/sqlite/sqlite-error.ts';
import { undoAfter, workFolder } from './processes.ts';

/** A database, its application, and who follows it. */
export class FollowerSetup {
  readonly path: string;
  readonly app: DatabaseSync;
  readonly gauges = new CaptureGauges();
  readonly settings;
  readonly follower: WalFollower;
  refusals = 0;

  constructor(t: TestContext, { maxPendingBytes, cut }: { maxPendingBytes: number; cut?: () => void }) {
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
    using wal = this.follower.openWal();
    this.follower.standAt(this.follower.beginExactly(), wal)[Symbol.dispose]();
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
