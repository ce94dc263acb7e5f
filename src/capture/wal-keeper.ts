import { frameOffset } from '../sqlite/wal.ts';
import type { CaptureSettings } from './options.ts';
import type { WalFollower } from './wal-follower.ts';
import type { WalWatch } from './wal-watch.ts';

/** How soon to look again after there was something to do. */
const BUSY_LOOK_MS = 100;

type Settings = Pick<CaptureSettings, 'minCheckpointPages' | 'truncatePages' | 'monitorIntervalMs'>;

/** Keeps a WAL that nobody follows from growing: the application counts on its being checkpointed. */
export class WalKeeper {
  readonly #settings: Settings;
  readonly #watch: WalWatch;
  #hadToCheckpoint = false;

  constructor(settings: Settings, watch: WalWatch) {
    this.#settings = settings;
    this.#watch = watch;
  }

  /** How soon to look again. */
  get lookMs(): number {
    const { monitorIntervalMs } = this.#settings;
    return this.#hadToCheckpoint ? Math.min(BUSY_LOOK_MS, monitorIntervalMs) : monitorIntervalMs;
  }

  /** Makes a checkpoint if one is due. The follower holds no read transaction. */
  look(follower: WalFollower): void {
    const { minCheckpointPages, truncatePages } = this.#settings;
    const { mxFrame, backfilled } = follower.head();
    const truncates = truncatePages > 0 && follower.walFileBytes >= frameOffset(truncatePages, follower.pageSize);
    this.#hadToCheckpoint = false;
    if (truncates || mxFrame - backfilled >= minCheckpointPages) {
      this.#watch.tried(follower.clearWal(truncates), follower);
      this.#hadToCheckpoint = true;
    }
    this.#watch.look(follower);
  }
}
