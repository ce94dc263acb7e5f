import type { Command } from './command.ts';

/** A command as the list of commands shows it; `load` brings in the rest, and only then. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  /** Left out of the list: kept for those who still type it. */
  readonly hidden?: true;
  load(): Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'config',
    summary: 'check the configuration and try its replicas',
    load: async () => (await import('./config.ts')).config,
  },
  {
    name: 'databases',
    summary: 'list the databases of the configuration',
    load: async () => (await import('./databases.ts')).databases,
  },
  {
    name: 'help',
    summary: 'explain a command',
    load: async () => (await import('./help.ts')).help,
  },
  {
    name: 'ltx',
    summary: 'list the files that a replica holds',
    load: async () => (await import('./ltx.ts')).ltx,
  },
  {
    name: 'replicate',
    summary: 'stream databases to their replicas',
    load: async () => (await import('./replicate.ts')).replicate,
  },
  {
    name: 'restore',
    summary: 'bring a database back from its replica',
    load: async () => (await import('./restore.ts')).restore,
  },
  {
    name: 'version',
    summary: 'print the version',
    load: async () => (await import('./version.ts')).version,
  },
  {
    name: 'wal',
    summary: 'the old name of ltx',
    hidden: true,
    load: async () => (await import('./ltx.ts')).wal,
  },
];

/** Litestream's commands that do not exist here yet. */
export const UNBUILT_COMMANDS: readonly string[] = [
  ...['info', 'list', 'register', 'reset', 'start', 'status', 'stop', 'sync', 'unregister'],
];
