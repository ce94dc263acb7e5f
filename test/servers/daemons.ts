import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Only there to end a start that would hang. */
const START_LIMIT_MS = 60_000;
const POLL_MS = 20;
const LOG_TAIL_CHARACTERS = 3000;

/**
 * Hears of every daemon's process number. When its input ends, because {@link Daemons.stop} closed it or because this
 * process is no more, it kills them and removes the folder. So nothing outlives us, not even after a SIGKILL.
 */
const KEEPER = `
trap '' HUP INT QUIT TERM
daemons=
while read -r pid; do daemons="$daemons $pid"; done
[ -z "$daemons" ] || kill -KILL $daemons
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf "$1" && exit
  sleep 0.1
done 2>/dev/null`;

/** The long-running programs of one server, in a folder of their own. They do not keep this process from ending. */
export class Daemons {
  readonly folder: string;
  readonly #keeper: ChildProcess;
  readonly #running = new Map<string, ChildProcess>();
  readonly #ended: string[] = [];
  #isStopping = false;

  /** `name` says in the folder's name whose it is. */
  constructor(name: string) {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), `rivulet-${name}-`)));
    this.#keeper = spawn('sh', ['-c', KEEPER, 'sh', this.folder], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    forget(this.#keeper);
  }

  /** A folder beneath {@link folder}, made if need be. */
  subfolder(name: string): string {
    const path = join(this.folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Starts a program that stays in the foreground. What it prints is in `<name>.log` of the folder. */
  start(name: string, program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): void {
    const log = openSync(this.#logOf(name), 'a');
    // In a session of its own: Ctrl-C is for us, and ends the daemons through the keeper.
    const child = spawn(program, args, {
      cwd: this.folder,
      detached: true,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    child.once('error', ({ message }) => this.#ended.push(`${name} did not start: ${message}`));
    child.once('exit', (status, signal) => {
      this.#running.delete(name);
      if (this.#isStopping) return;
      this.#ended.push(`${name} ended with ${signal ?? `status ${status}`}:\n${this.#tailOf(name)}`);
    });
    this.#running.set(name, child);
    this.#keeper.stdin?.write(`${child.pid ?? ''}\n`);
    forget(child);
  }

  /** Waits until the server is `what`; throws with the log of a daemon that ended instead. */
  async until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const until = Date.now() + START_LIMIT_MS;
    while (!(await isTrue())) {
      const [ended] = this.#ended;
      if (ended !== undefined) throw new Error(ended);
      if (Date.now() > until) {
        const logs = [...this.#running.keys()].map((name) => `${name} says:\n${this.#tailOf(name)}`);
        throw new Error([`not within ${START_LIMIT_MS / 1000} s: ${what}`, ...logs].join('\n'));
      }
      await sleep(POLL_MS);
    }
  }

  /** Kills the daemons and removes the folder. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const gone = new Promise((resolve) => this.#keeper.once('exit', resolve));
    this.#keeper.ref();
    this.#keeper.stdin?.end();
    await gone;
  }

  #logOf(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  #tailOf(name: string): string {
    return readFileSync(this.#logOf(name), 'utf8').slice(-LOG_TAIL_CHARACTERS);
  }
}

/** Lets this process end without waiting for the child. */
function forget(child: ChildProcess): void {
  child.unref();
  if (child.stdin instanceof Socket) child.stdin.unref();
}

/** Runs a program to its end, which must be status 0; returns what it printed. */
export async function runTool(program: string, args: readonly string[], options: ToolOptions = {}): Promise<string> {
  const running = execute(program, args, { env: { ...process.env, ...options.env }, timeout: START_LIMIT_MS });
  running.child.stdin?.on('error', () => undefined); // it may end before it has read everything
  running.child.stdin?.end(options.input ?? '');
  return (await running).stdout;
}

export interface ToolOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

/** Below the ports that systems give to outgoing connections, so that nobody is handed one in between. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (await canListen(port)) return port;
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Whether an HTTP server answers here, whatever it says. */
export async function answers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url);
    await answer.arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
