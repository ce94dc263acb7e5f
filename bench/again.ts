import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Workplace } from './copies.ts';
import { median } from './figures.ts';
import { measure } from './measure.ts';
import type { Tool } from './tools.ts';

const CHANGED_ROWS = 10;

/** What happens to the database while the tool is away. */
export type Meanwhile = 'rows are changed' | 'rows are changed, and the WAL is restarted';
export const MEANWHILE: readonly Meanwhile[] = ['rows are changed', 'rows are changed, and the WAL is restarted'];

/** What a tool does about a few changed rows when it is started again. */
export interface AgainFigures {
  /** Bytes of the files that it stored. */
  readonly storedBytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export async function startAgain(
  tool: Tool,
  place: Workplace,
  original: string,
  meanwhile: Meanwhile,
  runs: number,
): Promise<AgainFigures> {
  const all: AgainFigures[] = [];
  for (let run = 0; run < runs; run++) all.push(await once(tool, place, original, meanwhile));
  return {
    storedBytes: median(all.map(({ storedBytes }) => storedBytes)),
    seconds: median(all.map(({ seconds }) => seconds)),
    cpuSeconds: median(all.map(({ cpuSeconds }) => cpuSeconds)),
  };
}

async function once(tool: Tool, place: Workplace, original: string, meanwhile: Meanwhile): Promise<AgainFigures> {
  place.reset(original);
  const command = [tool.program, 'replicate', '-once', place.databasePath, place.replicaUrl];
  const application = new DatabaseSync(place.databasePath, { timeout: 10_000 });
  try {
    // So that there is a WAL with something in it to go on from.
    change(application, 'first');
    await measure(command, tool.env);
    const before = bytesIn(place.replicaPath);
    change(application, 'second');
    if (meanwhile === 'rows are changed, and the WAL is restarted') {
      application.exec('PRAGMA wal_checkpoint(RESTART)');
      change(application, 'third', 1);
    }
    const { seconds, cpuSeconds } = await measure(command, tool.env);
    return { storedBytes: bytesIn(place.replicaPath) - before, seconds, cpuSeconds };
  } finally {
    application.close();
    place.clear();
  }
}

/** Changes rows that lie far from each other. */
function change(db: DatabaseSync, to: string, rows = CHANGED_ROWS): void {
  const most = Number(db.prepare('SELECT max(id) AS most FROM messages').get()?.most);
  const update = db.prepare('UPDATE messages SET author = ? WHERE id = ?');
  db.exec('BEGIN IMMEDIATE');
  for (let i = 1; i <= rows; i++) update.run(to, Math.floor((i * most) / (rows + 1)));
  db.exec('COMMIT');
}

function bytesIn(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
}
