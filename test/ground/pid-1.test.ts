import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { tempFolder } from '../support/temp.ts';
import { install, missing, missingNamespaces, SHELLS } from './launcher-fixture.ts';

const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/** Says each signal that it gets; what it does else is named by its first argument. */
const PROGRAM = `
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

for (const signal of ${JSON.stringify(FORWARDED)}) process.on(signal, () => console.log(signal));
setInterval(() => {}, 1000);

function processes() {
  const stats = readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).map((pid) => readFileSync('/proc/' + pid + '/stat', 'utf8'));
  return stats.map((stat) => stat.replace(/.*\\) /, '').split(' ', 2).join(' '));
}

const roles = {
  listen() { console.log('ready'); },
  exit() { process.exit(42); },
  kill() { process.kill(process.pid, 'SIGKILL'); },
  stdin() {
    let input = '';
    process.stdin.on('data', (data) => { input += data; }).on('end', () => { console.log('input', input); process.exit(0); });
  },
  orphans() {
    for (let i = 0; i < 20; i++) spawn('sh', ['-c', 'sleep 0.1 & exit 0'], { stdio: 'ignore' });
    setTimeout(() => { console.log(processes().join(',')); process.exit(0); }, 800);
  },
};
roles[process.argv[2]]();
`;

/**
 * Stands for a Node that ends with status 7 soon after a SIGTERM and that no SIGUSR2 ever kills. (Node itself gives up its
 * handlers before it ends, and can be killed then.)
 */
const ENDS_WITH_7 = `#!/bin/sh
[ "$1" = -v ] && echo v24.15.0 && exit
trap '' USR2
trap 'exit 7' TERM
sleep 60 &
echo ready
wait
`;

interface Container {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  /** All that was printed until now. */
  output(): string;
  /** Waits until the output contains `text`. */
  says(text: string): Promise<void>;
  /** Sends a signal to PID 1. */
  signal(signal: NodeJS.Signals): void;
  exit(): Promise<number | NodeJS.Signals | null>;
}

/** PID 1 of a namespace of its own, that ends with us. */
const NAMESPACE = ['-pf', '--kill-child', '--mount-proc'];

function container(t: TestContext, shell: string, role: string, node = process.execPath): Container {
  const launcher = install(tempFolder(t), PROGRAM);
  const child = spawn('unshare', [...NAMESPACE, ...shell.split(' '), launcher, role], {
    env: { ...process.env, RIVULET_NODE: node },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const closed = once(child, 'close');
  t.after(() => child.kill('SIGKILL'));
  return {
    child,
    output: () => output,
    async says(text) {
      while (!output.includes(text)) {
        assert.equal(child.exitCode ?? child.signalCode, null, `it ended without saying ${text}: ${output}`);
        await sleep(5);
      }
    },
    signal: (signal) => process.kill(onlyChildOf(child.pid), signal),
    async exit() {
      const [status, signal] = await closed;
      return status ?? signal;
    },
  };
}

/** An executable with this text. */
function program(t: TestContext, text: string): string {
  const file = join(tempFolder(t), 'program');
  writeFileSync(file, text, { mode: 0o755 });
  return file;
}

function onlyChildOf(pid: number | undefined): number {
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
  if (child === 0) throw new Error('PID 1 is gone'); // a signal to 0 would be one to ourselves
  return child;
}

for (const shell of SHELLS) {
  describe(`the launcher as PID 1 in ${shell}`, { skip: missing(shell) || missingNamespaces() }, () => {
    test('hands on every signal, each time that it comes', async (t) => {
      const { says, signal, output, child, exit } = container(t, shell, 'listen');
      await says('ready');
      let expected = 'ready\n';
      for (const name of [...FORWARDED, ...FORWARDED]) {
        signal(name);
        expected += `${name}\n`;
        await says(expected);
      }
      assert.equal(output(), expected);
      child.kill('SIGKILL');
      await exit();
    });

    test("ends with Node's status, and with 128 plus the signal that killed it", async (t) => {
      assert.equal(await container(t, shell, 'exit').exit(), 42);
      assert.equal(await container(t, shell, 'kill').exit(), 128 + 9);
    });

    test("keeps Node's status however signals and its end fall together", async (t) => {
      const node = program(t, ENDS_WITH_7);
      for (let delayMs = 0; delayMs < 8; delayMs++) {
        const { says, signal, exit, child } = container(t, shell, '', node);
        await says('ready');
        signal('SIGTERM');
        await sleep(delayMs);
        while (child.exitCode === null) {
          try {
            signal('SIGUSR2');
          } catch {
            break; // PID 1 is gone
          }
          await sleep(0);
        }
        const status = await exit();
        if (shell.startsWith('bash'))
          assert.notEqual(status, 0); // bash can forget it, but says so with a failure
        else assert.equal(status, 7);
      }
    });

    test('reaps orphans', async (t) => {
      const { exit, output } = container(t, shell, 'orphans');
      assert.equal(await exit(), 0);
      const states = output().trim().split(',');
      // The shell (parent 0) and Node (parent 1), and nothing else: no zombies, no sleepers.
      assert.deepEqual(states.map((state) => state.replace(/^[^Z] /, 'alive ')).sort(), ['alive 0', 'alive 1']);
    });

    test('leaves Node its input', async (t) => {
      const { child, exit, output } = container(t, shell, 'stdin');
      child.stdin.end('two\nlines');
      assert.equal(await exit(), 0);
      assert.equal(output(), 'input two\nlines\n');
    });

    test('starts without any input', (t) => {
      const launcher = install(tempFolder(t), PROGRAM);
      const words = ['unshare', ...NAMESPACE, ...shell.split(' '), launcher, 'exit'];
      const env = { ...process.env, RIVULET_NODE: process.execPath };
      const { status, stderr } = spawnSync('sh', ['-c', '"$@" <&-', 'sh', ...words], { env, encoding: 'utf8' });
      assert.deepEqual({ status, stderr }, { status: 42, stderr: '' });
    });

    test('stops at once when a signal comes before Node runs', async (t) => {
      const asked = join(tempFolder(t), 'asked');
      const { signal, exit } = container(t, shell, 'listen', program(t, `#!/bin/sh\n: >'${asked}'\nsleep 0.5\n`));
      while (!existsSync(asked)) await sleep(5);
      signal('SIGTERM');
      assert.equal(await exit(), 143);
    });
  });
}

/** Runs its arguments on a terminal of their own, types Ctrl-C once they are ready, then stops PID 1 with a kill. */
const TERMINAL = `
import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
output = b''
def read_until(text):
    global output
    while text not in output:
        output += os.read(terminal, 4096)
read_until(b'ready')
os.write(terminal, b'\\x03')
read_until(b'SIGINT')
time.sleep(0.3)
first = int(open(f'/proc/{pid}/task/{pid}/children').read())
os.kill(first, 15)
read_until(b'SIGTERM')
os.kill(pid, 9)
print(output.count(b'SIGINT'))
`;

const noTerminal = spawnSync('python3', ['-c', 'import pty'], { stdio: 'ignore' }).status === 0 ? false : 'no python3';

for (const shell of SHELLS) {
  const skip = missing(shell) || missingNamespaces() || noTerminal;
  test(`Ctrl-C on the terminal of a container counts once, in ${shell}`, { skip }, (t) => {
    const launcher = install(tempFolder(t), PROGRAM);
    // setsid -c makes PID 1 the owner of the terminal, as container engines do.
    const container = ['unshare', ...NAMESPACE, 'setsid', '-c', ...shell.split(' ')];
    const { stdout, stderr } = spawnSync('python3', ['-c', TERMINAL, ...container, launcher, 'listen'], {
      encoding: 'utf8',
      env: { ...process.env, RIVULET_NODE: process.execPath },
      timeout: 30_000,
    });
    assert.equal(stdout, '1\n', stderr);
  });
}
