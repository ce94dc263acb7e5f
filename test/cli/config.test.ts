import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tempFolder } from '../support/temp.ts';
import { usesSecret } from '../support/test-record.ts';
import { runCli } from './run-cli.ts';

/** A folder with a configuration. */
function configured(t: TestContext, text: string): string {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'rivulet.yml'), text.replaceAll('HERE', cwd));
  return cwd;
}

const SECRET = usesSecret('hunter2-of-config-check');

const ONE = `mcp-addr: ":9090"
secret-access-key: ${SECRET}
access-key-id: id
dbs:
  - path: HERE/a.db
    replica: {path: "HERE/\${ENVIRONMENT}/a"}
`;

const STEPS = `  list               ok
  write              ok
  conditional write  ok
  read               ok
  delete             ok
`;

test('config check prints what is meant, warns, and tries the replica without leaving anything', async (t) => {
  const cwd = configured(t, ONE);
  const { status, stdout, stderr } = await runCli(['config', 'check'], { cwd, env: { ENVIRONMENT: 'prod' } });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^# .*rivulet\.yml, with all defaults\ndbs:\n {2}- path: .*a\.db\n {4}monitor-interval: 1s\n/);
  assert.match(stdout, /\nWarning: .*rivulet\.yml:1:1: mcp-addr: /);
  assert.ok(stdout.endsWith(`\nfile://${cwd}/prod/a\n${STEPS}`), stdout);
  assert.ok(!stdout.includes(SECRET));
  assert.deepEqual(readdirSync(join(cwd, 'prod/a')), []);
  assert.deepEqual(readdirSync(cwd).sort(), ['prod', 'rivulet.yml']);
});

test('config check as JSON has the configuration, the warnings and the steps', async (t) => {
  const cwd = configured(t, ONE);
  const { stdout } = await runCli(['config', 'check', '-json'], { cwd, env: { ENVIRONMENT: 'prod' } });
  const result = JSON.parse(stdout);
  assert.equal(result.path, join(cwd, 'rivulet.yml'));
  assert.equal(result.config.dbs[0].replica.path, join(cwd, 'prod/a'));
  assert.equal(result.warnings.length, 1);
  assert.equal(result.replicas[0].database, join(cwd, 'a.db'));
  assert.deepEqual(result.replicas[0].steps[0], { name: 'list', outcome: 'ok' });
  assert.equal(result.replicas[0].steps.length, 5);
});

test('a replica that cannot be used is an error after all were tried', async (t) => {
  const cwd = configured(
    t,
    'dbs: [{path: HERE/a.db, replica: {path: HERE/rivulet.yml/a}}, {path: HERE/b.db, replica: {path: HERE/b}}]',
  );
  const { status, stdout, stderr } = await runCli(['config', 'check'], { cwd });
  assert.equal(status, 1);
  assert.match(stdout, /rivulet\.yml\/a\n(.*\n)* {2}write +failed\n {2}conditional write +skipped\n/);
  assert.ok(stdout.endsWith(STEPS), stdout);
  assert.match(stderr, /^Error: .*rivulet\.yml\/a/);
  const json = JSON.parse((await runCli(['config', 'check', '-json'], { cwd })).stdout);
  assert.match(json.replicas[0].steps[1].error.code, /^STORE_/);
});

test('a configuration that is wrong is an error, and nothing is tried', async (t) => {
  const cwd = configured(t, 'dbz: []');
  const { status, stdout, stderr } = await runCli(['config', 'check'], { cwd });
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(stderr, /1:1: unknown key `dbz`\nTry: did you mean `dbs`\?/);
});

test('config schema prints the JSON Schema', async (t) => {
  const { status, stdout } = await runCli(['config', 'schema'], { cwd: tempFolder(t) });
  assert.equal(status, 0);
  assert.ok(JSON.parse(stdout).properties.dbs);
});

test('config alone says what it can do', async (t) => {
  const cwd = tempFolder(t);
  for (const args of [['config'], ['config', 'zork']]) {
    const { status, stderr } = await runCli(args, { cwd });
    assert.equal(status, 1);
    assert.equal(stderr, 'Error: must specify what to do: check or schema\nTry: rivulet config check\n');
  }
});
