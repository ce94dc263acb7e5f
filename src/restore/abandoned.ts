import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { hasCode, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isBeingStaged } from './staged-database.ts';

/** A staged file that nothing has been written to for this long, by a process that is gone, is nobody's. */
const ABANDONED_MS = 10_000;

/** Removes what restores to `path` left beside it when they were killed: files as large as the database. */
export function removeAbandoned(path: string, logger: Logger): void {
  const folder = dirname(path);
  for (const name of namesIn(folder)) {
    const staged = join(folder, name);
    const pid = stagedBy(name, basename(path));
    if (pid === undefined || isBeingStaged(staged) || isAlive(pid) || !isOld(staged)) continue;
    try {
      fs.rmSync(staged, { force: true });
      logger.log('info', 'removed what an interrupted restore left', { path: staged });
    } catch (error) {
      logger.log('warn', 'what an interrupted restore left cannot be removed', {
        path: staged,
        error: messageOf(error),
      });
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return []; // the folder is yet to be made
  }
}

/** The process that staged a file of this name for `target`; undefined for other names. */
function stagedBy(name: string, target: string): number | undefined {
  if (!name.startsWith(`${target}.`)) return undefined;
  const match = /^(\d+)-[0-9a-f]{8}\.tmp(?:-wal|-shm|-journal)?$/.exec(name.slice(target.length + 1));
  return match ? Number(match[1]) : undefined;
}

/** In a container every start can have the same process id: what has ours and is not ours was left by an earlier one. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

function isOld(path: string): boolean {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > ABANDONED_MS;
}
