import { relative } from 'node:path';
import { formatCount, formatLag, row } from './live-view.ts';
import { type Crash, type Restored, RIVULET } from './story.ts';

/** A path as it is typed from here. */
export function shown(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith('..') ? path : fromHere;
}

export function beginning(databasePath: string, replicaPath: string): string[] {
  return [
    'A small ticket shop sells into a SQLite database, in a process of its own.',
    'Rivulet streams the database to a folder meanwhile.',
    '',
    `  database   ${shown(databasePath)}`,
    `  replica    ${shown(replicaPath)}`,
    '',
  ];
}

export function afterCrash(crash: Crash): string[] {
  const onTheWay = crash.commits - crash.stored;
  const stored =
    onTheWay <= 0
      ? ['All of its commits were in the replica at that moment.']
      : [
          `At that moment ${formatCount(onTheWay)} commits, those of the last ${formatLag(crash.lagMs)}, were not in the replica yet.`,
          `Rivulet stored them from the WAL, ${formatLag(crash.caughtUpMs)} later.`,
        ];
  return [
    '',
    `The shop was killed (SIGKILL) in the middle of its work, after ${formatCount(crash.commits)} commits.`,
    ...stored,
    'Then Rivulet was killed too, and the shop deleted: database, WAL, the whole folder.',
    '',
  ];
}

export function afterRestore({ command, output, comparison }: Restored): string[] {
  const typed = [RIVULET, ...command].map((word) => (word.startsWith('/') ? shown(word) : word));
  return [
    `$ ${typed.join(' ')}`,
    output,
    '',
    'Compared with a copy of the lost database:',
    ...comparison.checks.map(({ name, good, detail }) => row(name, good ? 'ok' : 'DIFFERENT', detail)),
    '',
  ];
}

/** The result in one line. */
export function verdict({ comparison }: Restored, commits: number): { readonly good: boolean; readonly text: string } {
  const { checks, lostCommits } = comparison;
  if (lostCommits > 0)
    return { good: false, text: `LOST: ${formatCount(lostCommits)} of ${formatCount(commits)} commits.` };
  if (checks.every((check) => check.good)) return { good: true, text: 'Lost: nothing.' };
  return { good: false, text: 'WRONG: the restored database is not the one that was lost.' };
}

export function next(kept: boolean, replicaUrl: string): string[] {
  const rivulet = shown(RIVULET);
  const yours = [
    '',
    'Next, with a database of yours:',
    `  ${rivulet} replicate app.db /path/to/backup             streams it, until Ctrl-C`,
    `  ${rivulet} restore -o copy.db file:///path/to/backup    brings it back`,
    `  ${rivulet} help                                         tells the rest`,
  ];
  const look = kept
    ? ['To look around in the files of this run:', `  ${rivulet} ltx ${replicaUrl}`]
    : ['To keep the files of a run, and look around in them: npm run quickstart -- --keep'];
  return [...yours, '', ...look];
}
