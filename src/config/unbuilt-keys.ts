/*
 * What Litestream knows, v0.3 included, and Rivulet does not do. Where a user would rely on it, it is an error
 * (NOT_BUILT); where nothing is lost but itself, a warning at start that says what is missing.
 */

export const NOTHING_REMOVED =
  'nothing acts on it yet: there is no compaction and no retention, every file stays stored';
const NO_ADDRESS = 'nothing listens there: this is not built yet';
const UNUSED = 'nothing acts on it; it can be removed';

/** Keys at the top that are accepted with a warning, and why. */
export const TOP_WARNINGS = {
  levels: NOTHING_REMOVED,
  snapshot: NOTHING_REMOVED,
  'l0-retention': NOTHING_REMOVED,
  'l0-retention-check-interval': NOTHING_REMOVED,
  'verify-compaction': 'nothing acts on it yet: there is no compaction',
  validation: 'nothing acts on it yet: stored files are not checked in the background',
  'mcp-addr': NO_ADDRESS,
  'heartbeat-url': 'nothing is sent there: this is not built yet, so a watchdog that waits for it will raise its alarm',
  'heartbeat-interval': 'nothing acts on it yet: no heartbeat is sent',
} as const;

/** The same for a database. */
export const DATABASE_WARNINGS = {
  snapshot: NOTHING_REMOVED,
  'max-checkpoint-page-count': `${UNUSED} (see truncate-page-n)`,
  'shadow-retention-n': UNUSED,
} as const;

/** The same for a replica, and for the defaults of all replicas at the top. */
export const REPLICA_WARNINGS = {
  'validation-interval': 'nothing acts on it yet: stored files are not checked in the background',
  'max-sync-ltx-files': 'nothing acts on it: all files that are waiting are sent',
  'auto-recover': 'nothing acts on it: local state that does not fit is always made anew, and the replica is kept',
} as const;

/** The same for a replica only: these are Litestream v0.3's. */
export const OLD_REPLICA_WARNINGS = {
  retention: NOTHING_REMOVED,
  'retention-check-interval': NOTHING_REMOVED,
  'snapshot-interval': NOTHING_REMOVED,
} as const;

/** Keys that are refused by name, as what they ask for would silently not be so. */
export const REFUSED_REPLICA_KEYS: readonly string[] = ['age', 'sse'];
export const REFUSED_DATABASE_KEYS: readonly string[] = ['dir', 'pattern', 'recursive', 'watch', 'meta-dir'];
