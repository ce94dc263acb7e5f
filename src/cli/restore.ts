import { type Stats, statSync } from 'node:fs';
import { RivuletError } from '../base/errors.ts';
import { parseTxid } from '../base/types.ts';
import { expandPath, isReplicaUrl, printableUrl } from '../config/paths.ts';
import { type FlagSpecs, type Flags, usageError } from './args.ts';
import { CONFIG_FLAGS, defineCommand } from './command.ts';

const flags = {
  ...CONFIG_FLAGS,
  o: {
    kind: 'value',
    value: 'PATH',
    help: 'Where the database is restored to. Default: its path in the configuration; needed with a replica URL.',
  },
  txid: {
    kind: 'value',
    value: 'TXID',
    help: 'Restore the state right after this transaction (16 hex digits, as `rivulet ltx` lists them). Default: the newest.',
  },
  'if-db-not-exists': { kind: 'switch', help: 'Do nothing, and succeed, where the database exists already.' },
  'if-replica-exists': { kind: 'switch', help: 'Succeed where the replica holds no backup.' },
  force: {
    kind: 'switch',
    help: 'Replace an existing database. It and its -wal, -shm and -journal are moved aside, never deleted.',
  },
  'dry-run': { kind: 'switch', help: 'Print what would be fetched, and write nothing.' },
  json: { kind: 'switch', help: 'Print the result as JSON; logs go to stderr.' },
  v: { kind: 'switch', help: 'Say more: the plan, and each step of the work.' },
  'integrity-check': {
    kind: 'value',
    value: 'MODE',
    help: 'Have SQLite check the result as well: none, quick or full. Checksums are checked always. Default: none.',
  },
  parallelism: {
    kind: 'value',
    value: 'NUM',
    help: 'How many requests are made to the store at a time, 1 to 64. Default: 8.',
  },
  timestamp: { kind: 'value', value: 'TIMESTAMP', unbuilt: true, help: 'Restore the state at a point in time.' },
  f: { kind: 'switch', unbuilt: true, help: 'Follow the replica.' },
  'follow-interval': { kind: 'value', value: 'DURATION', unbuilt: true, help: 'How often to look for changes.' },
} as const satisfies FlagSpecs;

export type RestoreFlags = Flags<typeof flags>;
export type IntegrityCheck = 'none' | 'quick' | 'full';

/** What is to be restored, read from the command line and nothing else. */
export interface RestoreRequest {
  /** The database path or replica URL, as typed. */
  readonly argument: string;
  readonly outputPath: string;
  readonly txid: bigint | undefined;
  readonly integrityCheck: IntegrityCheck;
  readonly parallelism: number | undefined;
  readonly flags: RestoreFlags;
}

export const restore = defineCommand({
  name: 'restore',
  about: [
    'Brings a database back from its replica: fetched, verified, and only then put in its place.',
    'Without -force an existing database is left alone.',
  ],
  usage: ['restore [flags] DB_PATH', 'restore [flags] -o PATH REPLICA_URL'],
  flags,
  examples: [
    { does: 'The newest state, to where the configuration says', command: 'rivulet restore /path/to/app.db' },
    { does: 'From a replica, without a configuration', command: 'rivulet restore -o app.db file:///backups/app' },
    { does: 'Before an application starts', command: 'rivulet restore -if-db-not-exists -if-replica-exists app.db' },
  ],
  maxPositionals: 1,
  async run({ flags, positionals: [argument] }) {
    const request = readRequest(argument, flags);
    // Applications run this before each start, so it is answered before anything else is loaded.
    if (flags['if-db-not-exists']) {
      const existing = statIfThere(request.outputPath);
      if (existing) return skip(request, existing);
    }
    const { runRestore } = await import('./restore-run.ts');
    return runRestore(request);
  },
});

function readRequest(argument: string | undefined, flags: RestoreFlags): RestoreRequest {
  if (argument === undefined) {
    throw usageError('database path or replica URL required', 'rivulet restore -o /path/to/db file:///path/to/replica');
  }
  const isUrl = isReplicaUrl(argument);
  if (isUrl && flags.config !== undefined) {
    throw usageError('cannot specify a replica URL and the -config flag', 'leave one of them out');
  }
  if (isUrl && !flags.o) {
    throw usageError(
      '-o is required when restoring from a replica URL',
      `rivulet restore -o /path/to/db ${printableUrl(argument)}`,
    );
  }
  return {
    argument,
    outputPath: expandPath(flags.o || argument),
    txid: readTxid(flags.txid),
    integrityCheck: readIntegrityCheck(flags['integrity-check']),
    parallelism: readParallelism(flags.parallelism),
    flags,
  };
}

/** All zeros stand for "not given", as in Litestream. */
function readTxid(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  const id = parseTxid(text);
  if (id !== undefined) return id === 0n ? undefined : id;
  throw usageError(
    `invalid value "${text}" for flag -txid: invalid txid format`,
    `write 16 hex digits: ${/^[0-9a-f]{1,16}$/i.test(text) ? text.toLowerCase().padStart(16, '0') : '0000000000000001'}`,
  );
}

function readIntegrityCheck(text = 'none'): IntegrityCheck {
  if (text === 'none' || text === 'quick' || text === 'full') return text;
  throw usageError(`invalid -integrity-check value: ${text}`, 'use none, quick or full');
}

const MAX_PARALLELISM = 64;

function readParallelism(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MAX_PARALLELISM) return count;
  throw usageError(`invalid value "${text}" for flag -parallelism: must be a number from 1 to ${MAX_PARALLELISM}`);
}

/** Undefined only where there is surely nothing: a path that cannot be looked at is an error, not a missing database. */
function statIfThere(path: string): Stats | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isDirectory()) return stats;
  throw new RivuletError({ code: 'OUTPUT_NOT_A_FILE', message: `${path} is a folder, not a database` });
}

async function skip(request: RestoreRequest, existing: Stats): Promise<number> {
  const { loggerForRestore } = await import('./restore-logger.ts');
  const logger = loggerForRestore(request.flags);
  logger.log('info', 'database already exists, skipping', { path: request.outputPath });
  if (existing.size === 0) {
    logger.log('warn', 'the database that exists is empty: a file of 0 bytes', { path: request.outputPath });
  }
  return 0;
}
