import type { Config } from '../config/config.ts';
import { LOG_LEVELS, parseLogLevel } from '../config/log-level.ts';
import { isReplicaUrl, printableUrl } from '../config/paths.ts';
import { type FlagSpecs, type Flags, usageError } from './args.ts';
import { CONFIG_FLAGS, defineCommand } from './command.ts';

const flags = {
  ...CONFIG_FLAGS,
  exec: {
    kind: 'value',
    value: 'CMD',
    help: 'Run a command beside the replication, end when it ends, and pass its exit status on. Its last commits are replicated first.',
  },
  once: { kind: 'switch', help: 'Bring every replica up to date once, and end. Not with -exec.' },
  'restore-if-db-not-exists': {
    kind: 'switch',
    help: 'Restore a database that is missing before it is replicated. Where there is no backup yet, start without.',
  },
  'log-level': {
    kind: 'value',
    value: 'LEVEL',
    help: `Least level to log: ${LOG_LEVELS.join(', ')}. Wins over $LOG_LEVEL and the configuration.`,
  },
  'force-snapshot': { kind: 'switch', unbuilt: true, help: 'Write a snapshot. Requires -once.' },
  'enforce-retention': { kind: 'switch', unbuilt: true, help: 'Remove what is past retention. Requires -once.' },
} as const satisfies FlagSpecs;

type ReplicateFlags = Flags<typeof flags>;

export const replicate = defineCommand({
  name: 'replicate',
  about: [
    'Streams databases to their replicas, commit by commit, until it is stopped (SIGINT or SIGTERM). A second signal stops waiting for the last upload.',
    'The databases are those of the configuration, or the one that is named here with its replica.',
  ],
  usage: ['replicate [flags]', 'replicate [flags] DB_PATH REPLICA_URL'],
  flags,
  examples: [
    { does: 'One database to a folder', command: 'rivulet replicate app.db file:///backups/app' },
    {
      does: 'With the application under its wing',
      command: 'rivulet replicate -config rivulet.yml -exec "node server.js"',
    },
  ],
  maxPositionals: 2,
  async run({ flags, positionals }) {
    const logLevel = readLogLevel(flags['log-level']);
    const { requireEngine } = await import('../sqlite/engine.ts');
    requireEngine();
    const config = withRestore(await readConfig(flags, positionals), flags);
    const exec = flags.exec || config.exec || undefined;
    if (flags.once && exec) throw usageError('cannot specify -once flag with -exec', 'leave one of them out');
    const { loggerFor } = await import('./logger.ts');
    const { aroundProgress, Progress, replicationBar } = await import('./progress.ts');
    // Where there is no terminal, or a command that writes to it, too, the log alone says how far long work is.
    const progress = new Progress({ label: 'replicate', quiet: !process.stderr.isTTY || exec !== undefined });
    const logger = aroundProgress(loggerFor(config.logging, logLevel), progress);
    const { productVersion } = await import('./version.ts');
    logger.log('info', 'rivulet', { version: productVersion() });
    const { runReplicate } = await import('../daemon/replicate.ts');
    try {
      return await runReplicate({
        config,
        once: flags.once,
        ...(exec && { exec }),
        logger,
        events: replicationBar(progress),
      });
    } finally {
      progress.done();
    }
  },
});

function readLogLevel(text: string | undefined) {
  if (text === undefined) return undefined;
  const level = parseLogLevel(text);
  if (level) return level;
  throw usageError(`invalid value "${text}" for flag -log-level`, `use one of ${LOG_LEVELS.join(', ')}`);
}

async function readConfig(flags: ReplicateFlags, positionals: readonly string[]): Promise<Config> {
  const [path, url] = positionals;
  if (path === undefined) {
    const { loadConfig } = await import('../config/load-config.ts');
    return loadConfig({ path: flags.config, expandEnv: !flags['no-expand-env'] });
  }
  if (isReplicaUrl(path)) {
    throw usageError(
      `a database comes before its replica: ${printableUrl(path)} is a URL`,
      `rivulet replicate /path/to/db ${printableUrl(path)}`,
    );
  }
  if (url === undefined) {
    throw usageError(
      `must specify at least one replica URL for ${path}`,
      `rivulet replicate ${path} file:///path/to/replica`,
    );
  }
  if (flags.config !== undefined) {
    throw usageError('cannot specify a replica URL and the -config flag', 'leave one of them out');
  }
  const { defaultConfig, defaultDatabaseConfig } = await import('../config/config.ts');
  return defaultConfig(defaultDatabaseConfig(path, url));
}

function withRestore(config: Config, flags: ReplicateFlags): Config {
  if (!flags['restore-if-db-not-exists']) return config;
  return { ...config, dbs: config.dbs.map((database) => ({ ...database, restoreIfMissing: true })) };
}
