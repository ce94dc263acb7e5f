import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { hasCode, messageOf } from '../../src/base/errors.ts';
import { Story, StoryError } from './story.ts';
import { afterCrash, afterRestore, beginning, next, shown, verdict } from './words.ts';

const USAGE = `npm run quickstart [-- FLAGS]

  --seconds N  stream for so long before the crash (default 10)
  --keep       keep the files, to look around in them
`;
const MOST_SECONDS = 600;
/** A signal from the keyboard ends our children, too, and the news of that may come first. */
const SIGNAL_DELAY_MS = 100;

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

interface Flags {
  readonly seconds: number;
  readonly keep: boolean;
  readonly help: boolean;
}

/** Streams a live database, loses it and restores it. Returns the exit status: 0 when nothing was lost. */
export async function quickstart(argv: readonly string[]): Promise<number> {
  let flags: Flags;
  try {
    flags = readFlags(argv);
  } catch (error) {
    process.stderr.write(`Error: ${messageOf(error)}\n\n${USAGE}`);
    return 1;
  }
  if (flags.help) {
    say(USAGE.trimEnd());
    return 0;
  }
  return runInFolder(flags);
}

function readFlags(argv: readonly string[]): Flags {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seconds: { type: 'string', default: '10' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= MOST_SECONDS)) throw new Error(`--seconds takes a number from 1 to ${MOST_SECONDS}`);
  return { seconds, keep: values.keep, help: values.help };
}

async function runInFolder({ seconds, keep }: Flags): Promise<number> {
  const parent = join(root, '.quickstart');
  let folder: string;
  try {
    mkdirSync(parent, { recursive: true });
    folder = mkdtempSync(join(parent, 'run-'));
  } catch (error) {
    process.stderr.write(`The quickstart needs a folder of its own, ${parent}: ${messageOf(error)}\n`);
    return 1;
  }
  const interrupt = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => interrupt.abort(signal);
  const signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, onSignal);
  // A reader that went away (`| head`) leaves nobody to tell the rest to.
  process.stdout.on('error', () => interrupt.abort('a closed output'));
  let kept = true;
  try {
    const good = await tell(folder, seconds, keep, interrupt.signal);
    kept = keep || !good;
    return good ? 0 : 1;
  } catch (error) {
    if (!interrupt.signal.aborted) await sleep(SIGNAL_DELAY_MS);
    if (!interrupt.signal.aborted) {
      process.stderr.write(`\nThe quickstart failed: ${error instanceof StoryError ? error.message : inFull(error)}\n`);
      return 1;
    }
    kept = keep;
    say('', `Stopped by ${String(interrupt.signal.reason)}.`);
    return 1;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
    if (kept) say('', `The files of this run are in ${shown(folder)}.`);
    else clear(folder, parent);
  }
}

/** Tells the story; true when nothing was lost. */
async function tell(folder: string, seconds: number, keep: boolean, signal: AbortSignal): Promise<boolean> {
  const story = new Story(folder, signal);
  try {
    say(...beginning(story.databasePath, story.replicaPath));
    await story.begin();
    await story.watch(seconds, process.stdout);
    const crash = await story.crash();
    await story.lose();
    say(...afterCrash(crash));
    const restored = await story.restore(crash.commits);
    say(...afterRestore(restored));
    const { good, text } = verdict(restored, crash.commits);
    say(text);
    if (good) say(...next(keep, pathToFileURL(story.replicaPath).href));
    return good;
  } finally {
    await story.end();
  }
}

function clear(folder: string, parent: string): void {
  rmSync(folder, { recursive: true, force: true });
  try {
    rmdirSync(parent);
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY', 'ENOENT', 'EEXIST')) throw error;
  }
}

function inFull(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function say(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
