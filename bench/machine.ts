import { arch, cpus, platform, totalmem } from 'node:os';
import type { Setting } from './sections.ts';

/** What the figures depend on, without a name or a date. */
export function describeMachine({ litestream, rivulet, sqlite3, databaseMib, runs, stream }: Setting): object {
  return {
    machine: {
      system: `${platform()} ${arch()}`,
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGib: Math.round(totalmem() / 2 ** 30),
    },
    versions: {
      rivulet: rivulet.version,
      litestream: litestream?.version ?? 'not measured',
      node: process.versions.node,
      sqlite: process.versions.sqlite,
      sqlite3: sqlite3?.version ?? 'not measured',
    },
    work: { databaseMib, runs, ...stream },
  };
}
