import { existsSync, statSync } from 'node:fs';
import { forEachLimited } from '../base/async.ts';
import { resolveDatabasePath } from '../base/database-files.ts';
import { hasCode, messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid } from '../base/types.ts';
import { CaptureThread } from '../capture/capture-thread.ts';
import type { Config, DatabaseConfig } from '../config/config.ts';
import { formatListenAddress } from '../config/listen-address.ts';
import { metaPathFor } from '../replica/local-state.ts';
import { openReplica } from '../replica/open-replica.ts';
import { Child, type ChildEnd } from './child.ts';
import type { DatabaseReplication, Ending, ReplicationEvents } from './database-replication.ts';
import type { MetricsServer } from './metrics-server.ts';
import { ShutdownSignals } from './shutdown-signals.ts';

export interface ReplicateOptions {
  readonly config: Config;
  /** Store what is committed now, and end. */
  readonly once: boolean;
  /** Run this command beside the replication, and end with it. */
  readonly exec?: string | undefined;
  readonly logger: Logger;
  /** Told of every database, by path. */
  readonly events?: (path: string) => ReplicationEvents;
}

/** Why the replication ends. */
type Reason =
  | { readonly kind: 'asked'; readonly signal: NodeJS.Signals; readonly childRuns?: boolean }
  | { readonly kind: 'child'; readonly end: ChildEnd }
  | { readonly kind: 'once' };

/**
 * Replicates the configured databases until a signal comes, the child ends, or (once) everything is stored. Returns the
 * exit status: 0 when everything is stored, the child's own when it ended by itself, 1 when commits are left behind.
 * Throws what keeps replication from being set up.
 */
export async function runReplicate(options: ReplicateOptions): Promise<number> {
  const { config, logger } = options;
  for (const warning of config.warnings) logger.log('warn', warning);
  if (config.dbs.length === 0) {
    throw new RivuletError({
      code: 'NO_DATABASES',
      message: 'the configuration names no database',
      next: 'add one under dbs:',
    });
  }
  using signals = new ShutdownSignals();
  const thread = new CaptureThread();
  thread.warmUp(expectsImage(config)); // first of all: the rest of the program loads while the thread starts
  const replications: DatabaseReplication[] = [];
  let reason: Reason | undefined;
  let failure: unknown;
  let server: MetricsServer | undefined;
  try {
    server = await giveMetrics(options, replications);
    for (const database of config.dbs) await restoreIfMissing(database, options, signals.first.signal);
    await startAll(replications, thread, options, signals.first.signal);
    reason = await runUntilTheEnd(options, replications, signals, thread);
  } catch (error) {
    if (signals.first.signal.aborted) reason = { kind: 'asked', signal: signals.signal };
    else failure = error;
  }
  if (reason) logger.log('info', 'shutting down', { because: describe(reason) });
  const started = new Set(replications.map(({ path }) => path));
  const unstarted = config.dbs.filter(({ path }) => !started.has(path));
  if (reason) for (const { path } of unstarted) sayNotStarted(path, logger);
  // -once that failed has waited for the store already.
  const patience = options.once && !reason ? 0 : config.shutdownSyncTimeoutMs;
  const complete = await shutDown(replications, options, signals, patience);
  server?.[Symbol.dispose]();
  await thread.close();
  if (!reason) throw failure;
  return statusOf(reason, complete && unstarted.length === 0);
}

/** Before anything else is begun: an address that cannot be had is an error, not a surprise for whoever watches. */
async function giveMetrics(
  { config, once, logger }: ReplicateOptions,
  replications: readonly DatabaseReplication[],
): Promise<MetricsServer | undefined> {
  if (!config.addr || once) return undefined;
  const { MetricsServer } = await import('./metrics-server.ts');
  const { metricsText } = await import('./metrics.ts');
  const text = (): string =>
    metricsText(
      replications.map(({ measures }) => measures),
      Date.now(),
    );
  const server = await MetricsServer.start(config.addr, text);
  const { host } = config.addr;
  logger.log('info', 'metrics are given', {
    url: `http://${formatListenAddress({ host: host ?? 'localhost', port: server.port })}/metrics`,
  });
  return server;
}

/** Databases that are started at the same time. */
const STARTS_AT_A_TIME = 16;

/** A database of this size takes long enough to read whole that a second thread should be there when it begins. */
const LARGE_BYTES = 64 * 1024 * 1024;

/** Whether a large database may be stored for the first time: it has no local state yet. */
function expectsImage(config: Config): boolean {
  return config.dbs.some(({ path, metaPath }) => {
    const sizeBytes = sizeIfReadable(path);
    return sizeBytes >= LARGE_BYTES && !existsSync(metaPath ?? metaPathFor(path));
  });
}

function sizeIfReadable(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0; // what is wrong with it is told by whoever opens it
  }
}

/** While a missing database is restored, how far that is gets said this often. */
const PROGRESS_EVERY_MS = 5000;

async function restoreIfMissing(
  database: DatabaseConfig,
  { logger, events }: ReplicateOptions,
  signal: AbortSignal,
): Promise<void> {
  if (!database.restoreIfMissing) return;
  if (existsSync(database.path)) {
    logger.log('info', 'database already exists, skipping restore', { db: database.path });
    return;
  }
  const { restoreDatabase } = await import('../restore/restore.ts');
  const { storeLeftovers } = await import('./starting-point.ts');
  const { store, replica } = await openReplica(database.replica, { limits: database.replica.limits, logger });
  const databasePath = resolveDatabasePath(database.path);
  const metaPath = database.metaPath ?? metaPathFor(databasePath);
  const { progress } = events?.(database.path) ?? {};
  let saidMs = performance.now();
  try {
    await storeLeftovers({ databasePath, metaPath, store, replica, log: logger, signal });
    const result = await restoreDatabase(replica, {
      outputPath: database.path,
      signal,
      logger,
      onProgress: ({ phase, doneBytes, totalBytes }) => {
        progress?.('restoring', doneBytes, totalBytes);
        if (performance.now() - saidMs < PROGRESS_EVERY_MS) return;
        saidMs = performance.now();
        const percent = Math.floor((100 * doneBytes) / Math.max(totalBytes, 1));
        logger.log('info', 'restoring the database', { db: database.path, phase, percent });
      },
      metaPath,
    });
    logger.log('info', 'restored the database', {
      db: database.path,
      txid: formatTxid(result.txid),
      ms: result.durationMs,
    });
  } catch (error) {
    // Proven empty (the listing succeeded): a first start. Anything else is no reason to start on an empty database.
    if (!(error instanceof RivuletError) || error.code !== 'REPLICA_EMPTY') throw error;
    logger.log('info', 'no backup yet, starting without a restore', { db: database.path, replica: replica.store.url });
  } finally {
    await store.close();
  }
}

/**
 * Starts all databases, several at a time: a store that is away keeps each of them waiting. Adds to `replications` those that were
 * started, in the order of the configuration. Throws the first error, when nothing is being started any more.
 */
async function startAll(
  replications: DatabaseReplication[],
  thread: CaptureThread,
  options: ReplicateOptions,
  signal: AbortSignal,
): Promise<void> {
  const { config, logger, once } = options;
  const { DatabaseReplication } = await import('./database-replication.ts');
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const places = new Map(config.dbs.map(({ path }, index) => [path, index]));
  const start = async (database: DatabaseConfig): Promise<void> => {
    const opened = await openReplica(database.replica, { limits: database.replica.limits, logger });
    const replication = new DatabaseReplication(database, opened, logger, options.events?.(database.path));
    try {
      await replication.start(thread, either, !once);
    } catch (error) {
      await replication.abandon();
      throw error;
    }
    replications.push(replication);
  };
  await forEachLimited(config.dbs, STARTS_AT_A_TIME, async (database) => {
    if (failed.signal.aborted) return;
    await start(database).catch((error: unknown) => failed.abort(error));
  });
  replications.sort((a, b) => (places.get(a.path) ?? 0) - (places.get(b.path) ?? 0));
  either.throwIfAborted();
}

async function runUntilTheEnd(
  options: ReplicateOptions,
  replications: readonly DatabaseReplication[],
  signals: ShutdownSignals,
  thread: CaptureThread,
): Promise<Reason> {
  const asked = signals.asked.then((signal): Reason => ({ kind: 'asked', signal }));
  const broken = Promise.race([thread.died, ...replications.map((replication) => replication.ended)]);
  if (options.once) return Promise.race([asked, broken, storeOnce(options, replications, signals)]);
  const command = options.exec ?? options.config.exec;
  if (command === undefined) return Promise.race([asked, broken]);
  // The application is not ended because its replication is: that is said in the log, and by the exit status.
  broken.catch((error: unknown) => options.logger.log('error', 'replication ended', { error: messageOf(error) }));
  const child = new Child(command);
  await child.started();
  signals.onEvery((signal) => child.forward(signal));
  const ended = child.ended.then((end): Reason => ({ kind: 'child', end }));
  const first = await Promise.race([asked, ended]);
  // The child gets the signal as well; its last commits are what the shutdown is about, so wait for it.
  if (first.kind !== 'asked') return first;
  const childRuns = await Promise.race([ended.then(() => false), signals.gaveUp.then(() => true)]);
  if (childRuns) {
    const message = 'gave up waiting for the command: it still runs, and what it commits from now on is not replicated';
    options.logger.log('error', message, { next: 'end it; its last commits follow at the next start' });
  }
  return { ...first, childRuns };
}

async function storeOnce(
  options: ReplicateOptions,
  replications: readonly DatabaseReplication[],
  signals: ShutdownSignals,
): Promise<Reason> {
  const { shutdownSyncTimeoutMs, shutdownSyncIntervalMs } = options.config;
  const limits = { timeoutMs: shutdownSyncTimeoutMs, everyMs: shutdownSyncIntervalMs, signal: signals.second.signal };
  for (const replication of replications) {
    const txid = await replication.syncNow(limits);
    if (txid === undefined) {
      throw new RivuletError({
        code: 'NOTHING_TO_REPLICATE',
        message: `${replication.path}: ${replication.state.kind === 'waiting' ? replication.state.reason : 'nothing to read'}`,
        next: 'without -once, Rivulet waits for the database',
      });
    }
    options.logger.log('info', 'stored', { db: replication.path, txid: formatTxid(txid) });
  }
  return { kind: 'once' };
}

/** Stops everything and says what is left behind; true when nothing is. */
async function shutDown(
  replications: readonly DatabaseReplication[],
  options: ReplicateOptions,
  signals: ShutdownSignals,
  timeoutMs: number,
): Promise<boolean> {
  const limits = { timeoutMs, everyMs: options.config.shutdownSyncIntervalMs, signal: signals.second.signal };
  const stopped = Promise.all(
    replications.map(async (replication) => {
      const ending = await replication.stop(limits);
      // Whoever reads that the database was overwritten knows what is not stored of it.
      const isKnown = hasCode(ending.error, 'DATABASE_OVERWRITTEN');
      if (!ending.complete && !isKnown) sayWhatIsLeft(replication, ending, options.logger);
      return ending.complete;
    }),
  );
  const gaveUp = signals.gaveUp.then(() => 'gave up' as const);
  const outcome = await Promise.race([stopped, gaveUp]);
  if (outcome !== 'gave up') return outcome.every(Boolean);
  // Captures end their last look even now; only waiting for the store was given up. Give them a moment to say so.
  const late = await Promise.race([stopped, new Promise<undefined>((resolve) => setTimeout(resolve, GIVE_UP_MS))]);
  if (late) return late.every(Boolean);
  options.logger.log(
    'error',
    'gave up before the last commits were captured; they are in the database and follow at the next start',
  );
  return false;
}

/** How long the last look at the databases may take after waiting was given up. */
const GIVE_UP_MS = 3000;

function sayNotStarted(path: string, logger: Logger): void {
  logger.log('error', `not replicated: ${path}`, {
    because: 'it was asked to end before the replica had answered',
    kept: 'the database has what was committed to it, and is stored after the next start',
  });
}

function sayWhatIsLeft(replication: DatabaseReplication, ending: Ending, logger: Logger): void {
  const first = ending.left[0];
  const last = ending.left.at(-1);
  const which = first && last ? `TXID ${formatTxid(first.txid)} to ${formatTxid(last.txid)}` : 'the last commits';
  const inSpool = first !== undefined && !hasCode(ending.error, 'REPLICA_CONFLICT', 'SPOOL_LOST');
  logger.log('error', `not stored: ${which} of ${replication.path}`, {
    because: ending.error === undefined ? 'waiting was given up' : messageOf(ending.error),
    kept: inSpool
      ? 'they are on this machine, and are stored first at the next start'
      : (hasCode(ending.error, 'NOT_STORED') && keptOf(ending.error)) ||
        'the database has what was committed to it; the next start compares it with the replica',
  });
}

function keptOf(error: unknown): string | undefined {
  return error instanceof RivuletError ? error.kept : undefined;
}

function describe(reason: Reason): string {
  if (reason.kind === 'asked') return reason.signal;
  return reason.kind === 'child' ? `the command ${reason.end.description}` : 'everything is stored';
}

function statusOf(reason: Reason, complete: boolean): number {
  if (reason.kind === 'asked' && reason.childRuns) return 1;
  const own = reason.kind === 'child' ? reason.end.status : 0;
  return own !== 0 ? own : complete ? 0 : 1;
}
