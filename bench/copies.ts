import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Contender } from './contest.ts';
import { copyCommand, type Tool } from './tools.ts';

/** Where one tool works: its copy of the database, its replica, what it restores. */
export class Workplace {
  readonly folder: string;
  readonly databasePath: string;
  readonly replicaPath: string;
  readonly restoredPath: string;

  constructor(parent: string, name: string) {
    this.folder = join(parent, name);
    this.databasePath = join(this.folder, 'app.db');
    this.replicaPath = join(this.folder, 'replica');
    this.restoredPath = join(this.folder, 'restored.db');
  }

  get replicaUrl(): string {
    return pathToFileURL(this.replicaPath).href;
  }

  /** An empty folder. */
  clear(): void {
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
  }

  /** Nothing but a copy of the database. */
  reset(original: string): void {
    this.clear();
    cpSync(original, this.databasePath);
  }

  /** Takes a restored database away, with everything beside it. */
  clearRestored(): void {
    for (const name of [
      'restored.db',
      'restored.db-wal',
      'restored.db-shm',
      'restored.db-txid',
      '.restored.db-rivulet',
    ]) {
      rmSync(join(this.folder, name), { recursive: true, force: true });
    }
  }
}

/** The floor of all work: the database as a plain file, copied. */
export function plainCopies(original: string, work: string, sqlite3: Tool | undefined): Contender[] {
  const to = join(work, 'copy.db');
  const prepare = (): void => rmSync(to, { force: true });
  const copy: Contender = {
    name: 'cp + fsync',
    command: copyCommand(original, to),
    env: process.env,
    isScript: true,
    prepare,
  };
  if (!sqlite3) return [copy];
  const command = [sqlite3.program, original, `.backup '${to}'`];
  return [copy, { name: 'sqlite3 .backup', command, env: sqlite3.env, prepare }];
}
