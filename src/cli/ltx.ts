import { formatTxid } from '../base/types.ts';
import type { Level } from '../replica/layout.ts';
import type { LtxFileInfo, Replica } from '../replica/replica.ts';
import { usageError } from './args.ts';
import { CONFIG_FLAGS, type Command, defineCommand } from './command.ts';

export const ltx = defineCommand({
  name: 'ltx',
  about: ['Lists the LTX files that a replica holds.'],
  usage: ['ltx [flags] DB_PATH', 'ltx [flags] REPLICA_URL'],
  flags: {
    ...CONFIG_FLAGS,
    level: {
      kind: 'value',
      value: 'LEVEL',
      help: 'The level to list: 0 (one file for each sync) to 9 (snapshots), or all. Default: 0.',
    },
    json: { kind: 'switch', help: 'Print JSON.' },
  },
  examples: [
    { does: 'The newest changes of a database', command: 'rivulet ltx /path/to/app.db' },
    { does: 'Everything in a replica', command: 'rivulet ltx -level all file:///backups/app' },
  ],
  maxPositionals: 1,
  async run({ flags, positionals: [argument] }) {
    if (argument === undefined) {
      throw usageError('database path or replica URL required', 'rivulet ltx /path/to/db');
    }
    const level = readLevel(flags.level ?? '0');
    const { findReplica } = await import('./replica-source.ts');
    const { openReplica } = await import('../replica/open-replica.ts');
    const { location } = await findReplica(argument, flags);
    const { replica, store } = await openReplica(location);
    try {
      await print(await listFiles(replica, level), flags.json);
    } finally {
      await store.close();
    }
    return 0;
  },
});

/** Its name in Litestream 0.3. */
export const wal: Command = {
  help: { ...ltx.help, name: 'wal', about: ['The old name of `ltx`.', ...ltx.help.about] },
  execute(argv) {
    process.stderr.write("Warning: 'wal' command is deprecated, please use 'ltx' instead\n");
    return ltx.execute(argv);
  },
};

function readLevel(text: string): Level | 'all' {
  if (text === 'all') return text;
  if (/^[0-9]$/.test(text)) return Number(text) as Level; // one digit
  throw usageError(
    `invalid value "${text}" for flag -level: level must be between 0 and 9, or all`,
    'rivulet ltx -level all …',
  );
}

function listFiles(replica: Replica, level: Level | 'all'): Promise<LtxFileInfo[]> {
  return level === 'all' ? replica.listAll() : replica.list(level);
}

async function print(files: readonly LtxFileInfo[], json: boolean): Promise<void> {
  const { formatJson, formatTable, formatTime } = await import('./format.ts');
  const rows = files.map((file) => ({
    level: file.level,
    min_txid: formatTxid(file.minTxid),
    max_txid: formatTxid(file.maxTxid),
    size: file.sizeBytes,
    timestamp: formatTime(file.createdMs),
  }));
  const header = ['level', 'min_txid', 'max_txid', 'size', 'created'];
  process.stdout.write(
    json ? formatJson(rows) : formatTable([header, ...rows.map((row) => Object.values(row).map(String))]),
  );
}
