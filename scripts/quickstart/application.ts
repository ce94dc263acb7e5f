import { fileURLToPath } from 'node:url';
import { LineProcess } from './child-process.ts';

/** The shop's process, seen from outside: what it says it has committed, and when. */
export class Application {
  readonly process: LineProcess;
  /** The page of its database that holds the progress row. */
  readonly opened: Promise<number>;
  /** When commit i + 1 was made, ms since 1970. */
  readonly #committedAtMs: number[] = [];

  constructor(databasePath: string, commitsPerSecond: number) {
    const open = Promise.withResolvers<number>();
    this.opened = open.promise;
    const script = fileURLToPath(new URL('shop-process.ts', import.meta.url));
    this.process = new LineProcess(
      [process.execPath, '--disable-warning=ExperimentalWarning', script, databasePath, String(commitsPerSecond)],
      (line) => {
        const [first = '', second = ''] = line.split(' ');
        if (first === 'open') open.resolve(Number(second));
        else this.#committedAtMs.push(Number(second));
      },
    );
    void this.process.ended.then(() => open.reject(new Error(`the shop ended by itself:\n${this.process.log}`)));
    open.promise.catch(() => undefined);
  }

  /** Commits that were acknowledged to the application. */
  get commits(): number {
    return this.#committedAtMs.length;
  }

  /** When a commit was made, ms since 1970; commits count from 1. */
  committedAtMs(commit: number): number | undefined {
    return this.#committedAtMs[commit - 1];
  }
}
