import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { RivuletError } from '../base/errors.ts';
import { splitWords } from './shell-words.ts';

/** How a child ended: its own status, or 128 and the number of the signal that killed it, as shells have it. */
export interface ChildEnd {
  readonly status: number;
  readonly description: string;
}

/** The application that replication runs beside. Its standard streams and environment are ours. */
export class Child {
  readonly #process: ChildProcess;
  readonly ended: Promise<ChildEnd>;

  constructor(command: string) {
    const [file, ...args] = splitWords(command);
    if (file === undefined) throw new RivuletError({ code: 'EXEC_UNREADABLE', message: 'the command to run is empty' });
    this.#process = spawn(file, args, { stdio: 'inherit', env: childEnvironment() });
    this.ended = new Promise((resolve, reject) => {
      this.#process.once('error', (cause) => reject(cannotRun(file, cause)));
      this.#process.once('exit', (code, signal) => resolve(endOf(code, signal)));
    });
    this.ended.catch(() => undefined); // whoever waits for the end hears of it
  }

  /** Resolves once the child runs; throws when it cannot be started. */
  async started(): Promise<void> {
    if (this.#process.pid !== undefined) return;
    await this.ended;
  }

  forward(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}

/** Ours, without what the launcher chose for Rivulet alone. */
function childEnvironment(): NodeJS.ProcessEnv {
  const {
    RIVULET_OWN_COMPILE_CACHE: own,
    NODE_COMPILE_CACHE: cache,
    RIVULET_LAUNCHER_SHELL: _,
    ...environment
  } = process.env;
  return own === undefined && cache !== undefined ? { ...environment, NODE_COMPILE_CACHE: cache } : environment;
}

function endOf(code: number | null, signal: NodeJS.Signals | null): ChildEnd {
  if (signal) return { status: 128 + constants.signals[signal], description: `was killed by ${signal}` };
  return { status: code ?? 1, description: `ended with status ${code ?? 1}` };
}

function cannotRun(file: string, cause: Error): RivuletError {
  return new RivuletError({
    code: 'EXEC_FAILED',
    message: `cannot run ${file}: ${cause.message}`,
    kept: 'replication was set up and has been shut down again',
    next: 'check the command given with -exec',
    cause,
  });
}
