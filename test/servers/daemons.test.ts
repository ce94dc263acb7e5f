import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, TestProcess, workFolder } from '../support/processes.ts';
import { answers, Daemons, freePort, runTool } from './daemons.ts';

const HERE = new URL('daemons.ts', import.meta.url).href;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('stopping ends the daemons and removes their folder', async () => {
  const daemons = new Daemons('test');
  daemons.start('sleeper', 'sh', ['-c', 'echo $$ > pid; exec sleep 3600']);
  const pidFile = join(daemons.folder, 'pid');
  await daemons.until('the sleeper runs', async () => existsSync(pidFile) && (await pidIn(pidFile)) > 0);
  const pid = await pidIn(pidFile);
  await daemons.stop();
  assert.equal(existsSync(daemons.folder), false);
  await eventually('the sleeper is gone', () => (isAlive(pid) ? undefined : true));
});

async function pidIn(file: string): Promise<number> {
  return Number(await runTool('cat', [file]));
}

test('they do not outlive a process that is killed', async (t) => {
  const script = join(workFolder(t), 'start.mjs');
  writeFileSync(
    script,
    `import { Daemons } from '${HERE}';
    const daemons = new Daemons('test');
    daemons.start('sleeper', 'sh', ['-c', 'trap "" TERM INT HUP; echo $$ > pid; while sleep 1; do :; done']);
    console.log('in ' + daemons.folder);
    setInterval(() => undefined, 1000);`,
  );
  const starter = new TestProcess(t, process.execPath, [script]);
  const folder = (await starter.says(/in (\S+)/))[1] ?? '';
  const pid = await eventually('the sleeper runs', async () => (await pidIn(join(folder, 'pid'))) || undefined);
  await starter.end('SIGKILL');
  await eventually('sleeper and folder are gone', () => (isAlive(pid) || existsSync(folder) ? undefined : true));
});

test('they do not keep their process from ending, and end with it', async (t) => {
  const script = join(workFolder(t), 'start.mjs');
  writeFileSync(
    script,
    `import { Daemons } from '${HERE}';
    const daemons = new Daemons('test');
    daemons.start('sleeper', 'sleep', ['3600']);
    console.log('in ' + daemons.folder);`,
  );
  const { status, stdout } = await new TestProcess(t, process.execPath, [script]).ended;
  assert.equal(status, 0);
  const folder = /in (\S+)/.exec(stdout)?.[1] ?? '';
  assert.notEqual(folder, '');
  await eventually('the folder is gone', () => (existsSync(folder) ? undefined : true));
});

test('a daemon that ends by itself is an error with what it said', async () => {
  const daemons = new Daemons('test');
  daemons.start('hasty', 'sh', ['-c', 'echo no such luck; exit 3']);
  const waiting = daemons.until('something happens', async () => false);
  await assert.rejects(waiting, /hasty ended with status 3:\nno such luck/);
  await daemons.stop();
});

test('a free port has nobody who answers', async () => {
  assert.equal(await answers(`http://127.0.0.1:${await freePort()}`), false);
});
