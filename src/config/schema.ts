import { z } from 'zod';
import { RivuletError } from '../base/errors.ts';
import type { LogType } from './config.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { LOG_LEVELS, parseLogLevel } from './log-level.ts';
import { expandPath, isReplicaUrl } from './paths.ts';
import { checkReplicaType, parseReplicaUrl } from './replica-url.ts';
import { parseSize } from './size.ts';

/*
 * The one schema of a configuration file. Values come as YAML has them, or as text where a variable was replaced; they
 * leave as what the program works with (ms, bytes, absolute paths). Defaults are not here: see config.ts.
 */

type Issue = { readonly code?: string; readonly next?: string | undefined };

function scalar<T>(read: (value: string) => T | undefined, reason: string): z.ZodType<T, unknown> {
  return z.unknown().transform((value, context) => {
    const text = typeof value === 'object' || value === undefined ? undefined : String(value);
    const result = text === undefined ? undefined : read(text);
    if (result !== undefined) return result;
    const got = text === undefined ? '' : ` (got ${text === '' ? '""' : text})`;
    context.addIssue({ code: 'custom', message: reason + got });
    return z.NEVER;
  });
}

/** Keeps the code and the hint of an error that a reader of another kind of value throws. */
function checked<T>(read: (text: string) => T): z.ZodType<T, unknown> {
  return scalar((text) => text, 'must be text').transform((text, context) => {
    try {
      return read(text);
    } catch (error) {
      if (!(error instanceof RivuletError)) throw error;
      const params: Issue = { code: error.code, next: error.next };
      context.addIssue({ code: 'custom', message: error.message, params });
      return z.NEVER;
    }
  });
}

const text = (): z.ZodType<string, unknown> => scalar((value) => value, 'must be text');

const TRUE = /^(true|yes|on|y)$/i;
const FALSE = /^(false|no|off|n)$/i;
const flag = (): z.ZodType<boolean, unknown> =>
  scalar((value) => (TRUE.test(value) ? true : FALSE.test(value) ? false : undefined), 'must be true or false');

function integer(least: number, reason: string): z.ZodType<number, unknown> {
  return scalar(
    (value) => (/^[+-]?\d+$/.test(value) && Number.isSafeInteger(Number(value)) ? Number(value) : undefined),
    'must be a whole number',
  ).refine((value) => value >= least, { error: (issue) => `${reason} (got ${String(issue.input)})` });
}

const size = (least: number, reason: string): z.ZodType<number, unknown> =>
  scalar(parseSize, 'must be a size such as 64MiB or 1GB').refine((bytes) => bytes >= least, {
    error: (issue) => `${reason} (got ${String(issue.input)})`,
  });

const DURATION = 'must be a duration with units, such as 500ms, 30s or 1m30s';
/** What Node's timers and SQLite's busy timeout hold: a signed 32-bit count of ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A duration, ms. `reason` is what Litestream says of one that is too short. */
function duration(limit: 'above zero' | 'from zero', reason: string): z.ZodType<number, unknown> {
  return scalar(parseDuration, DURATION).superRefine((ms, context) => {
    if (ms < 0 || (ms === 0 && limit === 'above zero')) {
      context.addIssue({ code: 'custom', message: `${reason} (got ${formatDuration(ms)})` });
    } else if (ms > MAX_TIMER_MS) {
      const most = formatDuration(MAX_TIMER_MS);
      context.addIssue({ code: 'custom', message: `must be at most ${most} (got ${formatDuration(ms)})` });
    }
  });
}

const positive = (name: string): z.ZodType<number, unknown> => duration('above zero', `${name} must be greater than 0`);
const notNegative = (name: string): z.ZodType<number, unknown> => duration('from zero', `${name} must not be negative`);

const LOG_TYPES: readonly LogType[] = ['text', 'json', 'pretty'];

const replicaType = checked((type) => {
  checkReplicaType(type);
  return type;
});

const replicaPath = checked((path) => {
  if (!isReplicaUrl(path)) return parseReplicaUrl(path);
  throw new RivuletError({
    code: 'CONFIG_VALUE',
    message: `replica path cannot be a url, please use the 'url' field instead: ${path}`,
  });
});

const replica = z.strictObject({
  type: replicaType.optional(),
  path: replicaPath.optional(),
  url: checked(parseReplicaUrl).optional(),
  name: text().optional(),
  'sync-interval': positive('sync interval').optional(),
});

const snapshot = z.strictObject({
  interval: positive('snapshot interval').optional(),
  retention: positive('snapshot retention').optional(),
});

const database = z.strictObject({
  path: text().transform(expandPath).optional(),
  'meta-path': text().transform(expandPath).optional(),
  'monitor-interval': positive('monitor interval').optional(),
  'checkpoint-interval': notNegative('checkpoint interval').optional(),
  'busy-timeout': notNegative('busy timeout').optional(),
  'min-checkpoint-page-count': integer(1, 'minimum checkpoint page count must be greater than 0').optional(),
  'truncate-page-n': integer(Number.MIN_SAFE_INTEGER, '').optional(),
  'max-sync-wal-bytes': size(0, 'must not be negative').optional(),
  'max-spool-bytes': size(1, 'must be greater than 0').optional(),
  'restore-if-db-not-exists': flag().optional(),
  'set-wal': flag().optional(),
  snapshot: snapshot.optional(),
  replica: replica.optional(),
  replicas: z.array(replica).optional(),
});

const level = z.strictObject({ interval: positive('compaction interval') });

const logging = z.strictObject({
  level: scalar(parseLogLevel, `must be one of ${LOG_LEVELS.join(', ')}`).optional(),
  type: scalar(
    (name) => LOG_TYPES.find((type) => type === name.toLowerCase()),
    `must be one of ${LOG_TYPES.join(', ')}`,
  ).optional(),
  stderr: flag().optional(),
});

export const fileSchema = z.strictObject({
  dbs: z.array(database).optional(),
  exec: text().optional(),
  logging: logging.optional(),
  'sync-interval': positive('sync interval').optional(),
  'shutdown-sync-timeout': notNegative('shutdown-sync-timeout').optional(),
  'shutdown-sync-interval': positive('shutdown sync interval').optional(),
  levels: z.array(level).max(8, 'compaction level cannot exceed 8').optional(),
  snapshot: snapshot.optional(),
  'l0-retention': notNegative('l0 retention').optional(),
  'l0-retention-check-interval': positive('l0 retention check interval').optional(),
});

export type ConfigFile = z.infer<typeof fileSchema>;
export type DatabaseSection = z.infer<typeof database>;
export type ReplicaSection = z.infer<typeof replica>;

/** A part of the file, with the keys that it can have. */
export interface Section {
  readonly built: readonly string[];
  /** Keys that only Litestream acts on. */
  readonly unbuilt: readonly string[];
}

const UNBUILT_REPLICA_SETTINGS = [
  ...['validation-interval', 'max-sync-ltx-files', 'auto-recover', 'age'],
  ...['access-key-id', 'secret-access-key', 'region', 'bucket', 'endpoint', 'force-path-style', 'sign-payload'],
  ...['require-content-md5', 'skip-verify', 'storage-class', 'part-size', 'concurrency', 'sse-customer-algorithm'],
  ...['sse-customer-key', 'sse-customer-key-path', 'sse-kms-key-id', 'account-name', 'account-key', 'sas-token'],
  ...['host', 'user', 'password', 'key-path', 'host-key', 'concurrent-writes', 'webdav-url', 'webdav-username'],
  ...['webdav-password', 'jwt', 'seed', 'creds', 'nkey', 'username', 'token', 'tls', 'root-cas', 'client-cert'],
  ...['client-key', 'max-reconnects', 'reconnect-wait', 'timeout'],
];

const SECTIONS = {
  top: {
    built: Object.keys(fileSchema.shape),
    unbuilt: [
      ...['addr', 'socket', 'validation', 'verify-compaction', 'retention', 'heartbeat-url', 'heartbeat-interval'],
      ...['mcp-addr', ...UNBUILT_REPLICA_SETTINGS],
    ],
  },
  dbs: { built: Object.keys(database.shape), unbuilt: ['dir', 'pattern', 'recursive', 'watch', 'meta-dir'] },
  replica: { built: Object.keys(replica.shape), unbuilt: UNBUILT_REPLICA_SETTINGS },
  snapshot: { built: Object.keys(snapshot.shape), unbuilt: [] },
  levels: { built: Object.keys(level.shape), unbuilt: [] },
  logging: { built: Object.keys(logging.shape), unbuilt: ['source'] },
} as const satisfies Record<string, Section>;

/** The section whose keys are found at `path`. */
export function sectionAt(path: readonly (string | number)[]): Section {
  const name = path.findLast((part) => typeof part === 'string') ?? 'top';
  if (name === 'replicas') return SECTIONS.replica;
  return Object.entries(SECTIONS).find(([section]) => section === name)?.[1] ?? SECTIONS.top;
}
