import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { tempFolder } from '../support/temp.ts';
import { runCli } from './run-cli.ts';
import { CREATED, storeReplica } from './stored-replica.ts';

const TXIDS = ['0000000000000001', '0000000000000002', '0000000000000003'];

test('the files of a level are listed, as text or JSON, by URL or by the path of the database', async (t) => {
  const cwd = tempFolder(t);
  const replica = join(cwd, 'replica');
  storeReplica(replica);
  writeFileSync(join(cwd, 'rivulet.yml'), 'dbs: [{path: app.db, replica: {path: replica}}]');
  const url = pathToFileURL(replica).href;

  const { status, stdout } = await runCli(['ltx', '-json', url]);
  assert.equal(status, 0);
  const files: { size: number }[] = JSON.parse(stdout);
  assert.deepEqual(
    files,
    TXIDS.map((id, i) => ({ level: 0, min_txid: id, max_txid: id, size: files[i]?.size, timestamp: CREATED })),
  );
  assert.ok(files.every((file) => file.size > 100));

  const text = await runCli(['ltx', url]);
  const lines = text.stdout.trimEnd().split('\n');
  assert.match(lines[0] ?? '', /^level {2}min_txid {10}max_txid {10}size +created$/);
  assert.equal(lines[1], `0      ${TXIDS[0]}  ${TXIDS[0]}  ${files[0]?.size}   ${CREATED}`);
  assert.equal(lines.length, 4);

  for (const path of ['app.db', join(cwd, 'app.db'), 'sqlite://app.db']) {
    assert.deepEqual(await runCli(['ltx', path], { cwd }), text);
  }
  const old = await runCli(['wal', url]);
  assert.equal(old.stdout, text.stdout);
  assert.match(old.stderr, /^Warning: 'wal' command is deprecated/);
});

test('-level chooses the level, or all of them', async (t) => {
  const replica = tempFolder(t);
  storeReplica(replica);
  const levels = async (level: string): Promise<number[]> => {
    const { stdout } = await runCli(['ltx', '-json', '-level', level, pathToFileURL(replica).href]);
    return JSON.parse(stdout).map((file: { level: number }) => file.level);
  };
  assert.deepEqual(await levels('9'), [9]);
  assert.deepEqual(await levels('5'), []);
  assert.deepEqual(await levels('all'), [0, 0, 0, 9]);
});

test('an empty replica is an empty list', async (t) => {
  const url = pathToFileURL(join(tempFolder(t), 'none')).href;
  assert.equal((await runCli(['ltx', url])).stdout, 'level  min_txid  max_txid  size  created\n');
  assert.equal((await runCli(['ltx', '-json', url])).stdout, '[]\n');
});

test('bad input is one error and failure', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'rivulet.yml'), 'dbs: [{path: app.db, replica: {path: replica}}]');
  writeFileSync(join(cwd, 'file'), '');
  const cases: [string[], RegExp][] = [
    [[], /^Error: database path or replica URL required\nTry: rivulet ltx /],
    [['a', 'b'], /^Error: too many arguments\n/],
    [['-level', '10', 'x'], /^Error: invalid value "10" for flag -level: level must be between 0 and 9, or all\n/],
    [['other.db'], /^Error: database not found in config: .*other\.db\nTry: .*app\.db\n/],
    [['-config', 'x', 'file:///x'], /^Error: cannot specify a replica URL and the -config flag\n/],
    [['gs://x/y'], /^Error: the replica type `gs` is known to Litestream and not built in Rivulet yet\n/],
    [['zork://x'], /^Error: unknown replica type: "zork"\nTry: /],
    [[pathToFileURL(join(cwd, 'file')).href], /^Error: .*is not a folder/],
  ];
  for (const [args, expected] of cases) {
    const { status, stdout, stderr } = await runCli(['ltx', ...args], { cwd });
    assert.deepEqual({ status, stdout }, { status: 1, stdout: '' }, args.join(' '));
    assert.match(stderr, expected);
  }
});
