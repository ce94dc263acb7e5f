import { pathToFileURL } from 'node:url';
import { RivuletError } from '../base/errors.ts';
import type { StagedDatabase } from './staged-database.ts';

/** `quick` leaves out that indexes match their tables; `full` does not. */
export type IntegrityCheck = 'none' | 'quick' | 'full';

const PRAGMAS: Readonly<Record<'quick' | 'full', string>> = { quick: 'quick_check', full: 'integrity_check' };
/** V8's. With them Node can wait for ever when it ends: https://github.com/nodejs/node/issues/54918 */
const NO_THREADS = '--single-threaded';
/** Most of SQLite's complaints that an error repeats. */
const MAX_COMPLAINTS = 5;
const MAX_OUTPUT_CHARS = 64 * 1024;

/**
 * The check is one long call into SQLite. In a process of its own it can be stopped, and keeps nothing else waiting.
 * `immutable`: SQLite then takes no locks, makes no sidecars and changes nothing, in WAL mode too.
 */
const CHECKER = `
const { DatabaseSync } = require('node:sqlite');
const [url, pragma] = process.argv.slice(-2);
let rows;
try {
  const database = new DatabaseSync(url, { readOnly: true });
  rows = database.prepare('PRAGMA ' + pragma + '(${MAX_COMPLAINTS})').all().map((row) => String(Object.values(row)[0]));
} catch (error) {
  rows = [error.message];
}
process.stdout.write(JSON.stringify(rows));
`;

/** Has SQLite check a finished file. Throws INTEGRITY_CHECK_FAILED with what it found. */
export async function checkIntegrity(
  staged: StagedDatabase,
  check: 'quick' | 'full',
  signal: AbortSignal,
): Promise<void> {
  const url = `${pathToFileURL(staged.path).href}?immutable=1`;
  const complaints = await runChecker([url, PRAGMAS[check]], signal);
  if (complaints.length === 1 && complaints[0] === 'ok') return;
  throw new RivuletError({
    code: 'INTEGRITY_CHECK_FAILED',
    message: `SQLite's ${PRAGMAS[check]} finds fault with the restored database: ${complaints.join('; ')}`,
    kept: 'nothing was changed; the restored file was removed again',
    next: 'restore an earlier state with -txid; without -integrity-check this one is restored as it is in the replica',
  });
}

async function runChecker(parameters: readonly string[], signal: AbortSignal): Promise<string[]> {
  const flags = ['--disable-warning=ExperimentalWarning', '--input-type=commonjs', NO_THREADS, '--eval', CHECKER, '--'];
  // Options for this process (a debugger, preloaded modules) are not meant for the checker.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, [...flags, ...parameters], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = (): boolean => child.kill('SIGKILL');
  signal.addEventListener('abort', stop);
  try {
    const output = collect(child.stdout);
    const complaint = collect(child.stderr);
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    signal.throwIfAborted();
    if (status === 0) return JSON.parse(output()) as string[]; // what CHECKER prints
    return [`the check itself failed with status ${status}: ${complaint().trim()}`];
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    if (text.length < MAX_OUTPUT_CHARS) text += chunk;
  });
  return () => text;
}
