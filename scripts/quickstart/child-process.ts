import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Lines of a child's log that are kept, for the case that it fails. */
const LOG_LINES = 20;

/** A child process that is read line by line. It does not outlive this one: it is killed at the exit. */
export class LineProcess {
  readonly #child: ChildProcess;
  readonly #log: string[] = [];
  /** Resolves once the process is gone and everything that it wrote has been read. */
  readonly ended: Promise<void>;
  #running = true;

  /** `onLine` takes the lines of its output; without it they belong to its log, as those of stderr do. */
  constructor(command: readonly string[], onLine?: (line: string) => void, env: NodeJS.ProcessEnv = process.env) {
    const [program = '', ...args] = command;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
    this.#child = child;
    const end = (): boolean => child.kill('SIGKILL');
    process.once('exit', end);
    child.once('close', () => process.off('exit', end));
    createInterface({ input: child.stdout }).on('line', onLine ?? ((line) => this.#note(line)));
    createInterface({ input: child.stderr }).on('line', (line) => this.#note(line));
    // A child that cannot be written to any more has ended, and says so itself.
    child.stdin.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#note(error.message);
        this.#running = false;
        resolve();
      });
      child.once('close', () => {
        this.#running = false;
        resolve();
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#running;
  }

  /** What its log says last. */
  get log(): string {
    return this.#log.join('\n');
  }

  /** Writes to its stdin. */
  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Asks it to end (SIGTERM), and waits for that. */
  async stop(): Promise<void> {
    if (this.#running) this.#child.kill('SIGTERM');
    await this.ended;
  }

  /** SIGKILL: it has no chance to do anything more. */
  async kill(): Promise<void> {
    if (this.#running) this.#child.kill('SIGKILL');
    await this.ended;
  }

  #note(line: string): void {
    this.#log.push(line);
    if (this.#log.length > LOG_LINES) this.#log.shift();
  }
}
