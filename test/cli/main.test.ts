import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMANDS, UNBUILT_COMMANDS } from '../../src/cli/commands.ts';
import { tempFolder } from '../support/temp.ts';
import { MAIN, runCli } from './run-cli.ts';

const SHOWN = COMMANDS.filter((command) => !command.hidden).map((command) => command.name);

test('help lists the commands, and succeeds', async () => {
  for (const args of [['help'], ['-h'], ['--help'], ['-help']]) {
    const { status, stdout, stderr } = await runCli(args);
    assert.equal(status, 0);
    assert.equal(stderr, '');
    for (const name of SHOWN) assert.match(stdout, new RegExp(`^ {2}${name} `, 'm'));
    assert.doesNotMatch(stdout, /^ {2}wal /m);
  }
});

test('without a command there is the same list, and failure', async () => {
  for (const args of [[], ['-zork']]) {
    const { status, stdout, stderr } = await runCli(args);
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /^Usage:/m);
  }
});

test('every command explains itself and each of its flags, in lines of at most 80 columns', async () => {
  for (const entry of COMMANDS.filter((command) => !command.hidden)) {
    const { help } = await entry.load();
    const text = await runCli(['help', entry.name]);
    assert.deepEqual(text, await runCli([entry.name, '-h']));
    assert.equal(text.status, 0);
    assert.match(text.stdout, new RegExp(`^ {2}rivulet ${entry.name}`, 'm'));
    for (const flag of Object.keys(help.flags)) assert.ok(text.stdout.includes(`-${flag}`), flag);
    for (const line of text.stdout.split('\n')) assert.ok(line.length <= 80, line);
  }
});

test('an unknown command is refused, and the nearest is named', async () => {
  const { status, stdout, stderr } = await runCli(['replcate']);
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(stderr, /^Error: rivulet replcate: unknown command\nTry: did you mean `rivulet replicate`\?/);
  assert.match((await runCli(['help', 'zork'])).stderr, /^Error: rivulet zork: unknown command\nTry: `rivulet help`/);
});

test("Litestream's other commands are refused by name", async () => {
  await Promise.all(
    UNBUILT_COMMANDS.slice(0, 3).map(async (name) => {
      const { status, stderr } = await runCli([name, 'x']);
      assert.equal(status, 1);
      assert.match(stderr, new RegExp(`^Error: the command \`${name}\` is known to Litestream and not built`));
    }),
  );
});

test('the version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  for (const args of [['version'], ['--version']]) {
    assert.deepEqual(await runCli(args), { status: 0, stdout: `${version}\n`, stderr: '' });
  }
  const { stdout } = await runCli(['version', '-verbose']);
  assert.match(
    stdout,
    new RegExp(`^Version: +${version}\nNode Version: +v\\d+.*\nSQLite Version: +3\\..*\nOS/Arch: +\\w+/`),
  );
  assert.equal((await runCli(['version', 'x'])).status, 1);
});

test('a reader that goes away early is no error', async () => {
  const child = spawn(process.execPath, [MAIN, 'help', 'restore'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const [status] = await once(child, 'close');
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});

test('output that cannot be written is an error', {
  skip: process.platform !== 'linux' && 'needs /dev/full',
}, async () => {
  const child = spawn('sh', ['-c', 'exec "$0" "$1" help > /dev/full', process.execPath, MAIN], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const [status] = await once(child, 'close');
  assert.equal(status, 1);
  assert.match(stderr, /^Error: .*ENOSPC/);
});

test('under the name of litestream everything is the same', async (t) => {
  const launcher = fileURLToPath(new URL('../../bin/rivulet', import.meta.url));
  const link = join(tempFolder(t), 'litestream');
  symlinkSync(launcher, link);
  const child = spawn(link, ['version'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  const [status] = await once(child, 'close');
  assert.deepEqual({ status, stdout }, { status: 0, stdout: (await runCli(['version'])).stdout });
});

test('a defect of ours is called one, and shows its stack only on request', async (t) => {
  const folder = tempFolder(t);
  // Stands for a bug: something below the command throws what nobody expects.
  const broken = join(folder, 'broken.mjs');
  writeFileSync(broken, "JSON.parse = () => { throw new TypeError('seven is not eight'); };");
  const run = (env: Record<string, string>) =>
    runCli(['version'], { env: { NODE_OPTIONS: `--import=${broken}`, ...env } });
  const quiet = await run({});
  assert.equal(quiet.status, 1);
  assert.match(quiet.stderr, /^Error: seven is not eight\nThis is a defect in Rivulet/);
  assert.doesNotMatch(quiet.stderr, /^ {4}at /m);
  assert.match((await run({ RIVULET_DEBUG: '1' })).stderr, /^ {4}at /m);
});
