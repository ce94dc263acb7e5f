import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempFolder } from '../support/temp.ts';
import { runCli } from './run-cli.ts';

const TWO = `dbs:
  - {path: /data/a.db, replica: {url: "file:///backups/a"}}
  - {path: /data/long-name.db, replica: {path: "/backups/$NAME"}}
`;

test('the databases of the configuration are listed, as text or JSON', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'rivulet.yml'), TWO);
  const env = { NAME: 'b' };
  assert.deepEqual(await runCli(['databases'], { cwd, env }), {
    status: 0,
    stdout: 'path                replica\n/data/a.db          file\n/data/long-name.db  file\n',
    stderr: '',
  });
  const { stdout } = await runCli(['databases', '--json'], { cwd, env });
  assert.deepEqual(JSON.parse(stdout), [
    { path: '/data/a.db', replica: 'file', url: 'file:///backups/a' },
    { path: '/data/long-name.db', replica: 'file', url: 'file:///backups/b' },
  ]);
});

test('an empty configuration is an empty list', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'litestream.yml'), '');
  assert.equal((await runCli(['databases'], { cwd })).stdout, 'path  replica\n');
  assert.equal((await runCli(['databases', '-json'], { cwd })).stdout, '[]\n');
});

test('the configuration is the one that is named', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'rivulet.yml'), 'broken: [');
  writeFileSync(join(cwd, 'other.yml'), TWO);
  const args = ['databases', '-no-expand-env', '-json'];
  const byFlag = await runCli([...args, '-config', 'other.yml'], { cwd });
  assert.equal(JSON.parse(byFlag.stdout)[1].url, 'file:///backups/$NAME');
  for (const name of ['RIVULET_CONFIG', 'LITESTREAM_CONFIG']) {
    assert.deepEqual(await runCli(args, { cwd, env: { [name]: 'other.yml' } }), byFlag);
  }
});

test('what is wrong is one error with its place, on stderr, and failure', async (t) => {
  const cwd = tempFolder(t);
  const at = (name: string) => join(cwd, name).replace('/private', '');
  writeFileSync(join(cwd, 'broken.yml'), 'dbs: [');
  writeFileSync(join(cwd, 'unknown.yml'), 'dbz: []');
  writeFileSync(join(cwd, 'unset.yml'), 'exec: $SURELY_NOT_SET');
  const cases: [string[], string | RegExp][] = [
    [['-config', 'none.yml'], `Error: config file not found: ${at('none.yml')}\nTry: check the path\n`],
    [['-config', 'broken.yml'], /^Error: .*broken\.yml:1:7: /],
    [['-config', 'unknown.yml'], `Error: ${at('unknown.yml')}:1:1: unknown key \`dbz\`\nTry: did you mean \`dbs\`?\n`],
    [['-config', 'unset.yml'], /unset\.yml:1:7: variable SURELY_NOT_SET is not set\nTry: set SURELY_NOT_SET/],
    [['-config', '.'], /^Error: cannot read the config file .*: it is a folder\n$/],
    [['extra'], 'Error: too many arguments\nTry: rivulet databases [flags]\n'],
  ];
  for (const [args, expected] of cases) {
    const { status, stdout, stderr } = await runCli(['databases', ...args], { cwd });
    assert.deepEqual({ status, stdout }, { status: 1, stdout: '' }, args.join(' '));
    if (typeof expected === 'string') assert.equal(stderr, expected);
    else assert.match(stderr, expected);
  }
});

test('without any configuration the places that were looked at are named', async (t) => {
  const { status, stderr } = await runCli(['databases'], { cwd: tempFolder(t) });
  assert.equal(status, 1);
  assert.match(stderr, /rivulet\.yml, .*litestream\.yml, \/etc\/rivulet\.yml, \/etc\/litestream\.yml\n/);
});
