import { statSync } from 'node:fs';
import { hasCode, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid } from '../base/types.ts';
import { openReplica } from '../replica/open-replica.ts';
import { planRestore, type RestorePlan } from '../replica/plan.ts';
import { Replica } from '../replica/replica.ts';
import type { RestoreOptions, RestoreResult } from '../restore/restore.ts';
import { requireEngine } from '../sqlite/engine.ts';
import { AnnouncedStore } from './announced-store.ts';
import { formatCount, formatElapsed, formatJson, formatSize } from './format.ts';
import { aroundProgress, Progress } from './progress.ts';
import { findReplica, type ReplicaSource } from './replica-source.ts';
import type { RestoreRequest } from './restore.ts';
import { loggerForRestore } from './restore-logger.ts';
import { describePlan, planJson } from './restore-plan-text.ts';

/** Restores, or plans to, and prints what came of it. */
export async function runRestore(request: RestoreRequest): Promise<number> {
  requireEngine();
  const source = await findReplica(request.argument, request.flags);
  const logger = loggerForRestore(request.flags);
  const limits = source.database?.replica.limits;
  const { replica, store } = await openReplica(source.location, { limits, logger });
  try {
    if (request.flags['dry-run']) await dryRun(request, source, replica);
    else await restoreAndPrint(request, source, replica, logger);
    return 0;
  } catch (error) {
    if (!hasCode(error, 'REPLICA_EMPTY') || !mayBeEmpty(request, source)) throw error;
    sayEmpty(request, source, logger);
    return 0;
  } finally {
    await store.close();
  }
}

/**
 * Whether a replica that is proven empty is no error: where that was said, or where a database of the configuration is restored
 * to its own place, as entrypoints do before each start. A dry run tells what a restore finds, so there it always is one.
 */
function mayBeEmpty({ flags, outputPath, txid }: RestoreRequest, { database }: ReplicaSource): boolean {
  if (flags['dry-run']) return false;
  return flags['if-replica-exists'] || (database?.path === outputPath && txid === undefined);
}

function sayEmpty({ flags, outputPath }: RestoreRequest, { location }: ReplicaSource, logger: Logger): void {
  const where = { db: outputPath, replica: location.url };
  if (flags['if-replica-exists']) logger.log('info', 'no matching backups found', where);
  else
    logger.log(
      'warn',
      'no backup yet, nothing to restore: the replica was listed and is empty, so this is a first start',
      where,
    );
}

async function makePlan(request: RestoreRequest, source: ReplicaSource, replica: Replica): Promise<RestorePlan> {
  return planRestore(await replica.listAll(), { txid: request.txid, replicaUrl: source.location.url });
}

async function dryRun(request: RestoreRequest, source: ReplicaSource, replica: Replica): Promise<void> {
  const plan = await makePlan(request, source, replica);
  if (request.flags.json) {
    process.stdout.write(formatJson(planJson(plan, request, source.location)));
    return;
  }
  process.stdout.write(describePlan(plan, request, source.location));
  const existing = statSync(request.outputPath, { throwIfNoEntry: false });
  if (existing && existing.size > 0 && !request.flags.force) {
    process.stdout.write(`\nThe target exists: restoring to it needs -force, which moves it aside.\n`);
  }
}

async function restoreAndPrint(
  request: RestoreRequest,
  source: ReplicaSource,
  replica: Replica,
  logger: Logger,
): Promise<void> {
  const { flags } = request;
  const result = await restoreWithProgress(request, source, replica, logger);
  process.stdout.write(flags.json ? formatJson(resultJson(request, source, result)) : describeResult(result, request));
}

async function restoreWithProgress(
  request: RestoreRequest,
  source: ReplicaSource,
  replica: Replica,
  logger: Logger,
): Promise<RestoreResult> {
  const progress = new Progress({ label: 'restore', quiet: request.flags.json });
  const log = aroundProgress(logger, progress);
  const interrupt = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => interrupt.abort(interrupted(signal, request.outputPath));
  // Only the first signal is caught: a second one ends the process at once.
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal).once('SIGHUP', onSignal);
  const end = new AbortController();
  // On its way while the rest of the program is loaded.
  const listing = replica.listAll({ signal: AbortSignal.any([interrupt.signal, end.signal]) });
  listing.catch(() => undefined); // who waits for it hears of it
  try {
    const { restoreDatabase } = await import('../restore/restore.ts');
    return await restoreDatabase(request.flags.v ? announced(replica, log) : replica, {
      ...optionsOf(request, source),
      listing,
      signal: interrupt.signal,
      logger: log,
      onProgress: (state) => progress.update(state),
      onPlan: (plan) => {
        if (request.flags.v) sayPlan(plan, request, source);
      },
    });
  } catch (error) {
    // Whatever the work says when it is cut off, the signal is why.
    throw interrupt.signal.aborted ? interrupt.signal.reason : error;
  } finally {
    end.abort();
    progress.done();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
  }
}

function sayPlan(plan: RestorePlan, request: RestoreRequest, source: ReplicaSource): void {
  const text = describePlan(plan, request, source.location);
  (request.flags.json ? process.stderr : process.stdout).write(`${text}\n`);
}

/** The same replica, with a log line for each file that is fetched. */
function announced(replica: Replica, logger: Logger): Replica {
  const store = new AnnouncedStore(replica.store, (key) => {
    if (key.endsWith('.ltx')) logger.log('info', 'fetching', { file: key });
  });
  return new Replica(store, replica.layout);
}

function optionsOf(request: RestoreRequest, { database }: ReplicaSource): RestoreOptions {
  // Local state belongs to the configured database, not to a copy of it elsewhere.
  const metaPath = database?.path === request.outputPath ? database.metaPath : undefined;
  return {
    outputPath: request.outputPath,
    force: request.flags.force,
    integrityCheck: request.integrityCheck,
    txid: request.txid,
    parallelism: request.parallelism,
    metaPath,
  };
}

function interrupted(signal: NodeJS.Signals, outputPath: string): RivuletError {
  return new RivuletError({
    code: 'INTERRUPTED',
    message: `restore interrupted by ${signal}`,
    kept: `${outputPath} is as it was before`,
  });
}

function resultJson(request: RestoreRequest, source: ReplicaSource, result: RestoreResult): object {
  return {
    db_path: result.outputPath,
    replica: source.location.type,
    txid: formatTxid(result.txid),
    duration_ms: Math.round(result.durationMs),
    integrity_check: request.integrityCheck,
    replica_url: source.location.url,
    page_size: result.pageSize,
    page_count: result.pageCount,
    size: result.sizeBytes,
    fetched: result.fetchedBytes,
    files: result.files.length,
    proof: result.proof,
    moved_aside: result.movedAside,
    ...(result.keptSpool !== undefined && { unstored: result.keptSpool }),
  };
}

const PROOFS: Readonly<Record<RestoreResult['proof'], string>> = {
  'database-checksum': 'its checksum is the one recorded when it was replicated',
  'file-checksums': 'the checksum of every file was checked',
};

function describeResult(result: RestoreResult, request: RestoreRequest): string {
  const size = `${formatSize(result.sizeBytes)}, ${formatCount(result.pageCount, 'page')}`;
  const lines = [
    `Restored ${result.outputPath} at TXID ${formatTxid(result.txid)} (${size}) in ${formatElapsed(result.durationMs)}.`,
    `Verified: ${PROOFS[result.proof]}${checkedBySqlite(request)}.`,
    ...result.movedAside.map((path) => `Moved aside: ${path}`),
    ...(result.keptSpool === undefined
      ? []
      : [`Not in it: commits that were never stored, kept in ${result.keptSpool}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function checkedBySqlite({ integrityCheck }: RestoreRequest): string {
  return integrityCheck === 'none' ? '' : `, and SQLite's ${integrityCheck} integrity check says ok`;
}
