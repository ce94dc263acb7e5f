import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { tempFolder } from '../support/temp.ts';
import { runCli } from './run-cli.ts';

function createDatabase(path: string): void {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (42)');
  database.close();
}

function answer(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare('SELECT x FROM t').get()?.x;
  } finally {
    database.close();
  }
}

test('bad input is one error and failure, and nothing is replicated', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'exec.yml'), 'exec: "true"\ndbs: [{path: a.db, replica: {path: r}}]');
  writeFileSync(join(cwd, 'none.yml'), 'dbs: []');
  const cases: [string[], RegExp][] = [
    [[], /^Error: config file not found: /],
    [['a.db'], /^Error: must specify at least one replica URL for a\.db\nTry: rivulet replicate a\.db file:/],
    [['-config', 'exec.yml', 'a.db', 'r'], /^Error: cannot specify a replica URL and the -config flag\n/],
    [['a.db', 'r', 's'], /^Error: too many arguments\n/],
    [['a.db', 'gs://b'], /^Error: the replica type `gs` is known to Litestream and not built/],
    [['a.db', 'file:///a//b'], /^Error: the path has an empty part/],
    [['-once', '-exec', 'true', 'a.db', 'r'], /^Error: cannot specify -once flag with -exec\n/],
    [['-once', '-config', 'exec.yml'], /^Error: cannot specify -once flag with -exec\n/],
    [['-once', '-force-snapshot', 'a.db', 'r'], /^Error: the flag -force-snapshot is known .* not built/],
    [['-once', '-enforce-retention', 'a.db', 'r'], /^Error: the flag -enforce-retention is known .* not built/],
    [['-log-level', 'loud', 'a.db', 'r'], /^Error: invalid value "loud" for flag -log-level\nTry: .*trace, debug/],
    [['-config', 'none.yml', '-log-level', 'error'], /^Error: the configuration names no database\n/],
  ];
  for (const [args, expected] of cases) {
    const { status, stdout, stderr } = await runCli(['replicate', ...args], { cwd });
    assert.deepEqual({ status, stdout }, { status: 1, stdout: '' }, args.join(' '));
    assert.match(stderr, expected);
  }
  assert.ok(!existsSync(join(cwd, 'r')));
});

test('-once stores a database, named on the command line or in the configuration', async (t) => {
  const cwd = tempFolder(t);
  createDatabase(join(cwd, 'a.db'));
  const named = await runCli(['replicate', '-once', 'a.db', 'one'], { cwd });
  assert.equal(named.status, 0, named.stderr);
  assert.match(named.stdout, /^time=\S+ level=INFO msg=rivulet version=/);

  writeFileSync(join(cwd, 'rivulet.yml'), 'l0-retention: 5m\ndbs: [{path: a.db, replica: {path: two}, meta-path: m}]');
  const configured = await runCli(['replicate', '-once', '-log-level', 'warn'], { cwd });
  assert.equal(configured.status, 0, configured.stderr);
  assert.match(
    configured.stdout,
    /^time=\S+ level=WARN msg="\S+rivulet\.yml:1:1: l0-retention: nothing acts on it yet.*"\n$/,
  );

  for (const replica of ['one', 'two']) {
    const restored = join(cwd, `${replica}.db`);
    await runCli(['restore', '-o', restored, pathToFileURL(join(cwd, replica)).href]);
    assert.equal(answer(restored), 42);
  }
});

test('-restore-if-db-not-exists brings a missing database back before the command starts', async (t) => {
  const cwd = tempFolder(t);
  createDatabase(join(cwd, 'a.db'));
  await runCli(['replicate', '-once', 'a.db', 'r'], { cwd });
  const check = `const fs = require('fs'); fs.writeFileSync('seen', fs.existsSync('b.db') ? 'yes' : 'no'); process.exit(3)`;
  writeFileSync(join(cwd, 'child.cjs'), check);
  const args = ['-restore-if-db-not-exists', '-exec', `'${process.execPath}' child.cjs`, 'b.db', 'r'];
  const { status, stderr } = await runCli(['replicate', ...args], { cwd });
  assert.equal(status, 3, stderr);
  assert.equal(readFileSync(join(cwd, 'seen'), 'utf8'), 'yes');
  assert.equal(answer(join(cwd, 'b.db')), 42);
});

test('-log-level wins over LOG_LEVEL, which wins over the configuration', async (t) => {
  const cwd = tempFolder(t);
  createDatabase(join(cwd, 'a.db'));
  writeFileSync(
    join(cwd, 'rivulet.yml'),
    'logging: {level: error, type: json, stderr: true}\ndbs: [{path: a.db, replica: {path: r}}]',
  );
  const quiet = await runCli(['replicate', '-once'], { cwd });
  assert.deepEqual(quiet, { status: 0, stdout: '', stderr: '' });
  const byVariable = await runCli(['replicate', '-once'], { cwd, env: { LOG_LEVEL: 'info' } });
  assert.equal(byVariable.stdout, '');
  assert.equal(JSON.parse(byVariable.stderr.split('\n')[0] ?? '').msg, 'rivulet');
  const byFlag = await runCli(['replicate', '-once', '-log-level=error'], { cwd, env: { LOG_LEVEL: 'info' } });
  assert.equal(byFlag.stderr, '');
});

test('a Node whose SQLite is too old is refused before any database is opened', async (t) => {
  const cwd = tempFolder(t);
  createDatabase(join(cwd, 'a.db'));
  const older = "Object.defineProperty(process, 'versions', { value: { ...process.versions, sqlite: '3.51.2' } })";
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(older)}` };
  const { status, stderr } = await runCli(['replicate', '-once', 'a.db', 'r'], { cwd, env });
  assert.equal(status, 1);
  assert.match(stderr, /with SQLite 3\.51\.2; Rivulet needs .*SQLite 3\.51\.3 or later/);
  assert.ok(!existsSync(join(cwd, 'r')) && !existsSync(join(cwd, '.a.db-rivulet')));
});
