import { Backoff } from '../base/async.ts';
import { frameOffset } from '../sqlite/wal.ts';
import type { CaptureSettings } from './options.ts';
import type { WalFollower } from './wal-follower.ts';
import type { WalWatch } from './wal-watch.ts';

/** How soon to look again after there was something to do; later where that was in vain, as each try can hold writers up. */
const BUSY_LOOK_MS = { first: 100, most: 1000 } as const;

type Settings = Pick<CaptureSettings, 'minCheckpointPages' | 'truncatePages' | 'monitorIntervalMs'>;

/** Keeps a WAL that nobody follows from growing: the application counts on its being checkpointed. */
export class WalKeeper {
  readonly #settings: Settings;
  readonly #watch: WalWatch;
  readonly #backoff = new Backoff(BUSY_LOOK_MS.first, BUSY_LOOK_MS.most);
  #busyLookMs: number | undefined;

  constructor(settings: Settings, watch: WalWatch) {
    this.#settings = settings;
    this.#watch = watch;
  }

  /** How soon to look again. */
  get lookMs(): number {
    const { monitorIntervalMs } = this.#settings;
    return Math.min(this.#busyLookMs ?? monitorIntervalMs, monitorIntervalMs);
  }

  /** Makes a checkpoint if one is due. The follower holds no read transaction. */
  look(follower: WalFollower): void {
    const { minCheckpointPages, truncatePages } = this.#settings;
    const { mxFrame, backfilled } = follower.head();
    const truncates = truncatePages > 0 && follower.walFileBytes >= frameOffset(truncatePages, follower.pageSize);
    this.#busyLookMs = undefined;
    if (truncates || mxFrame - backfilled >= minCheckpointPages) {
      const outcome = follower.clearWal(truncates);
      this.#watch.tried(outcome, follower);
      if (outcome === 'done') this.#backoff.reset();
      this.#busyLookMs = outcome === 'done' ? BUSY_LOOK_MS.first : this.#backoff.next();
    }
    this.#watch.look(follower);
  }
}
