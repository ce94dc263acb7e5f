import { messageOf } from '../base/errors.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import type { ReplicaLocation } from '../config/replica-url.ts';
import { DEFAULT_STORE_LIMITS, type StoreLimits } from '../config/store-limits.ts';
import { readOnly } from '../store/read-only-store.ts';
import type { Store } from '../store/store.ts';
import { LimitedStore } from '../store/wrap/limited-store.ts';
import { MeteredStore, type StoreUsage } from '../store/wrap/metered-store.ts';
import { RateLimitedStore } from '../store/wrap/rate-limited-store.ts';
import type { RetryNotice } from '../store/wrap/retry-policy.ts';
import { RetryingStore } from '../store/wrap/retrying-store.ts';
import { FILE_LAYOUT, HEX_LAYOUT, isKeyOf, type KeyLayout } from './layout.ts';
import { Replica } from './replica.ts';

export interface OpenReplicaOptions {
  readonly limits?: StoreLimits | undefined;
  /** Hears of requests that are made again. */
  readonly logger?: Logger | undefined;
}

export interface OpenedReplica {
  /** Makes requests that fail transiently again, up to a limit. */
  readonly store: Store;
  /** The same store, every request made once: for who tries again by a plan of its own. */
  readonly unretried: Store;
  /** For reading: nothing can be written through it. */
  readonly replica: Replica;
  /** What the store was asked up to now. */
  usage(): StoreUsage;
}

/** Opens the replica at `location`. */
export async function openReplica(
  location: ReplicaLocation,
  { limits = DEFAULT_STORE_LIMITS, logger = silentLogger }: OpenReplicaOptions = {},
): Promise<OpenedReplica> {
  const { base, layout } = await openStore(location, limits);
  const metered = new MeteredStore(base);
  const hasRate = Number.isFinite(limits.uploadBytesPerSecond) || Number.isFinite(limits.downloadBytesPerSecond);
  const paced = hasRate ? new RateLimitedStore(metered, limits) : metered;
  const unretried = new LimitedStore(paced, limits.maxConnections);
  const store = new RetryingStore(unretried, { onRetry: retryLog(logger) });
  return { store, unretried, replica: new Replica(readOnly(store), layout), usage: () => metered.usage };
}

/** A store that fails fails many requests at a time; one line of them is enough. */
const SAY_RETRIES_EVERY_MS = 1000;

function retryLog(logger: Logger): (retry: RetryNotice) => void {
  let saidMs = Number.NEGATIVE_INFINITY;
  return ({ what, attempt, error }) => {
    if (performance.now() - saidMs < SAY_RETRIES_EVERY_MS) return;
    saidMs = performance.now();
    logger.log('warn', `${what} failed, trying again`, { attempt, error: messageOf(error) });
  };
}

/** The one place that knows which store and which names of files belong to which kind of location. */
async function openStore(
  location: ReplicaLocation,
  limits: StoreLimits,
): Promise<{ readonly base: Store; readonly layout: KeyLayout }> {
  switch (location.type) {
    case 'file': {
      const { FileStore } = await import('../store/file/file-store.ts');
      return { base: new FileStore({ root: location.path }), layout: FILE_LAYOUT };
    }
    case 's3': {
      const { S3Store } = await import('../store/s3/s3-store.ts');
      const isOwnKey = (key: string): boolean => isKeyOf(HEX_LAYOUT, key);
      return { base: new S3Store(location, { maxConnections: limits.maxConnections, isOwnKey }), layout: HEX_LAYOUT };
    }
  }
}
