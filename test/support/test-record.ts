import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/*
 * What the tests of a run put in and what came out, in the folder that RIVULET_TEST_RECORD names: after them, all output is
 * searched for all secrets. Without that variable nothing is kept.
 */

const SECRETS = 'secrets';
const OUTPUT = 'output';

/** Tells of a secret that the product is given and must not print. */
export function usesSecret(secret: string): string {
  keep(SECRETS, `${JSON.stringify(secret)}\n`);
  return secret;
}

/** Other programs, whose output is their own: databases as SQL, for the most part. */
const OTHERS = /^\S*\b(sqlite3|python3|litestream|nsenter \S+ -- (mount|sqlite3))\b/;

/** Keeps what a process of the product printed. */
export function recordOutput(command: string, output: string): void {
  if (output !== '' && !OTHERS.test(command)) keep(OUTPUT, `${JSON.stringify({ command, output })}\n`);
}

function keep(file: string, line: string): void {
  const folder = process.env.RIVULET_TEST_RECORD;
  if (folder) appendFileSync(join(folder, file), line);
}
