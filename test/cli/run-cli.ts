import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { recordOutput } from '../support/test-record.ts';

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const TIMEOUT_MS = 60_000;
/** As the launcher has it: hundreds of runs need not compile the same modules again. */
const COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/rivulet-test', import.meta.url));

/** Runs the command line as a user would, in a process of its own, without this one's settings for it. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const { RIVULET_CONFIG, LITESTREAM_CONFIG, LOG_LEVEL, RIVULET_DEBUG, NO_COLOR, ...env } = process.env;
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    cwd: options.cwd,
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE, RIVULET_LAUNCHER_SHELL: '/bin/sh', ...env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      recordOutput(args.join(' '), stdout + stderr);
      resolve({ status, stdout, stderr });
    });
  });
}
