import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const SIGNAL = 'SIGUSR2';
const REPORTS_MS = 5000;

/** Processes of tests that can be asked what keeps them from ending. */
export class Questioning implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'rivulet-silence-'));

  /** With these flags of Node a process answers. */
  get flags(): readonly string[] {
    return ['--report-on-signal', `--report-signal=${SIGNAL}`, `--report-directory=${this.#folder}`];
  }

  /** What keeps each of those alive that this process has started, one line for each. */
  async ask(): Promise<string[]> {
    const asked = this.#children();
    for (const { pid } of asked) process.kill(pid, SIGNAL);
    await sleep(REPORTS_MS);
    const reports = readdirSync(this.#folder);
    return asked.map(({ pid, command }) => {
      const report = reports.find((name) => name.split('.').includes(String(pid)));
      const state = report === undefined ? 'does not answer: it hangs outside of JavaScript' : this.#read(report);
      return `process ${pid} (${command}) ${state}`;
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #read(report: string): string {
    const { libuv, javascriptStack } = JSON.parse(readFileSync(join(this.#folder, report), 'utf8'));
    const handles = [...libuv].filter(({ is_active: active, is_referenced: kept }) => active && kept);
    return `is kept by ${JSON.stringify(handles)}; it is at ${JSON.stringify(javascriptStack.stack ?? [])}`;
  }

  /** Linux only: elsewhere nobody is found. */
  #children(): { readonly pid: number; readonly command: string }[] {
    const found = [];
    const entries = existsSync('/proc') ? readdirSync('/proc') : [];
    for (const name of entries.filter((entry) => /^\d+$/.test(entry))) {
      const [command, status] = ['cmdline', 'status'].map((file) => readIfThere(join('/proc', name, file)));
      if (!command?.includes(this.#folder) || !status?.includes(`\nPPid:\t${process.pid}\n`)) continue;
      found.push({ pid: Number(name), command: command.split('\0').at(-2) ?? '' });
    }
    return found;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
