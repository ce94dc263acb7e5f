import { LineProcess } from './child-process.ts';

/** Commits by their number, from 1. */
export interface CommitLog {
  /** How many commits were acknowledged to the application. */
  readonly commits: number;
  /** When a commit was made, ms since 1970. */
  committedAtMs(commit: number): number | undefined;
}

/**
 * A process that writes to a database, seen from outside. It says `open PAGE` (the page of the progress row) once it is
 * ready, and after each commit `NUMBER MS_SINCE_1970 MS_TAKEN`; it ends when its stdin does.
 */
export class Application implements CommitLog {
  readonly process: LineProcess;
  /** The page of its database that holds the progress row. */
  readonly opened: Promise<number>;
  readonly #committedAtMs: number[] = [];
  readonly #takenMs: number[] = [];

  constructor(script: string, ...args: readonly string[]) {
    const open = Promise.withResolvers<number>();
    this.opened = open.promise;
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', script, ...args];
    this.process = new LineProcess(command, (line) => {
      const [first = '', second = '', third = ''] = line.split(' ');
      if (first === 'open') open.resolve(Number(second));
      else {
        this.#committedAtMs.push(Number(second));
        this.#takenMs.push(Number(third));
      }
    });
    void this.process.ended.then(() => open.reject(new Error(`the application ended by itself:\n${this.process.log}`)));
    open.promise.catch(() => undefined); // whoever waits for it learns of it
  }

  get commits(): number {
    return this.#committedAtMs.length;
  }

  committedAtMs(commit: number): number | undefined {
    return this.#committedAtMs[commit - 1];
  }

  /** How long the application waited for each commit, ms. */
  get takenMs(): readonly number[] {
    return this.#takenMs;
  }
}
