import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** How often the memory of a process is looked at. Its peak only grows, so at most the growth of its last moments is missed. */
const SAMPLE_MS = 10;
/** Clock ticks a second in /proc/PID/stat: 100 on every Linux. */
const TICKS_PER_SECOND = 100;
const TIMES = /^(\d+\.\d+) (\d+\.\d+) (\d+\.\d+)$/;

export interface Measured {
  /** From the start of the process to its end, s. */
  readonly seconds: number;
  /** Of all its threads and children, in user and system mode, s. */
  readonly cpuSeconds: number;
  /** Most memory that it had resident at a time, MiB; undefined where there is no /proc. */
  readonly peakMib: number | undefined;
}

/**
 * Runs a command to its end. bash's `time` tells the time and the CPU time: the kernel's own figures for a child that has
 * been waited for. Throws when the command fails.
 */
export async function measure(command: readonly string[], env: NodeJS.ProcessEnv): Promise<Measured> {
  const child = spawn('bash', ['-c', `TIMEFORMAT='%3R %3U %3S'; time "$@"`, 'bash', ...command], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, which can be ended as a whole
  });
  const end = (): boolean => process.kill(-(child.pid ?? 0), 'SIGKILL');
  process.once('exit', end);
  const memory = new PeakMemory(child.pid ?? 0);
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  const status = await new Promise<number | string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? code));
  }).finally(() => {
    process.off('exit', end);
    memory.stop();
  });
  const lines = log.trimEnd().split('\n');
  const times = TIMES.exec(lines.findLast((line) => TIMES.test(line)) ?? '');
  if (status !== 0 || !times) throw new Error(`${command.join(' ')}: status ${status}\n${lines.slice(-10).join('\n')}`);
  const [seconds = 0, user = 0, system = 0] = times.slice(1).map(Number);
  return { seconds, cpuSeconds: user + system, peakMib: memory.peakMib };
}

/** Watches the one child of a shell. */
class PeakMemory {
  readonly #shell: number;
  readonly #timer: NodeJS.Timeout;
  peakMib: number | undefined;

  constructor(shell: number) {
    this.#shell = shell;
    this.#timer = setInterval(() => this.#look(), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const child = Number.parseInt(readProc(`${this.#shell}/task/${this.#shell}/children`), 10);
    const now = Number.isNaN(child) ? undefined : peakMibOf(child);
    if (now !== undefined) this.peakMib = Math.max(this.peakMib ?? 0, now);
  }
}

/** The most memory that a process has had resident, MiB. */
export function peakMibOf(pid: number): number | undefined {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readProc(`${pid}/status`))?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}

/** CPU time of a running process and all its threads until now, s. */
export function cpuSecondsOf(pid: number): number | undefined {
  // The name in parentheses may hold anything; the fields are counted from behind it.
  const fields = /.*\) (.*)/s.exec(readProc(`${pid}/stat`))?.[1]?.split(' ');
  const [user, system] = [fields?.[11], fields?.[12]];
  if (user === undefined || system === undefined) return undefined;
  return (Number(user) + Number(system)) / TICKS_PER_SECOND;
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'latin1');
  } catch {
    return ''; // no /proc here, or the process has just ended
  }
}
