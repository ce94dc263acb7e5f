import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { formatLtxName } from '../../src/ltx/format.ts';
import { BUCKET, FakeS3, KEY, REGION } from '../support/fake-s3.ts';
import { ScriptedServer } from '../support/scripted-server.ts';
import { tempFolder } from '../support/temp.ts';
import { usesSecret } from '../support/test-record.ts';
import { type CliResult, runCli } from './run-cli.ts';
import { CREATED, storeReplica } from './stored-replica.ts';

const [FIRST, SECOND, THIRD] = ['0000000000000001', '0000000000000002', '0000000000000003'] as const;

test('a replica is restored by its URL or by the path of its database, and the result is told', async (t) => {
  const cwd = tempFolder(t);
  const [, , newest] = storeReplica(join(cwd, 'replica'));
  const url = pathToFileURL(join(cwd, 'replica')).href;
  writeFileSync(join(cwd, 'rivulet.yml'), 'dbs: [{path: app.db, replica: {path: replica}}]');

  const byUrl = await runCli(['restore', '-o', 'copy.db', url], { cwd });
  assert.equal(byUrl.status, 0, byUrl.stderr);
  assert.match(byUrl.stdout, new RegExp(`^Restored .*copy\\.db at TXID ${THIRD} \\(.* pages\\) in `, 'm'));
  assert.match(byUrl.stdout, /^Verified: /m);
  assert.deepEqual(readFileSync(join(cwd, 'copy.db')), newest);

  const byPath = await runCli(['restore', 'app.db'], { cwd });
  assert.equal(byPath.status, 0, byPath.stderr);
  assert.deepEqual(readFileSync(join(cwd, 'app.db')), newest);
});

test('-txid restores that state, and -json tells the result to programs', async (t) => {
  const cwd = tempFolder(t);
  const [, second] = storeReplica(join(cwd, 'replica'));
  const url = pathToFileURL(join(cwd, 'replica')).href;
  const args = [
    'restore',
    '-json',
    '-txid',
    SECOND,
    '-integrity-check',
    'full',
    '-parallelism',
    '2',
    '-o',
    'a.db',
    url,
  ];
  const { status, stdout, stderr } = await runCli(args, { cwd });
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout);
  assert.deepEqual(readFileSync(join(cwd, 'a.db')), second);
  const { duration_ms, fetched, ...rest } = result;
  assert.ok(duration_ms >= 0 && fetched > 0);
  assert.deepEqual(rest, {
    db_path: result.db_path,
    replica: 'file',
    txid: SECOND,
    integrity_check: 'full',
    replica_url: url,
    page_size: 512,
    page_count: second ? second.length / 512 : 0,
    size: second?.length,
    files: 2,
    proof: 'file-checksums',
    moved_aside: [],
  });
  assert.match(result.db_path, /a\.db$/);
  assert.match(stderr, /^time=.* level=INFO /m);
});

test('-txid of zeros restores the newest state', async (t) => {
  const cwd = tempFolder(t);
  const [, , newest] = storeReplica(join(cwd, 'replica'));
  await runCli(['restore', '-txid', '0000000000000000', '-o', 'a.db', pathToFileURL(join(cwd, 'replica')).href], {
    cwd,
  });
  assert.deepEqual(readFileSync(join(cwd, 'a.db')), newest);
});

test('an existing database is left alone, or moved aside with -force', async (t) => {
  const cwd = tempFolder(t);
  storeReplica(join(cwd, 'replica'));
  const args = ['-o', 'a.db', pathToFileURL(join(cwd, 'replica')).href];
  writeFileSync(join(cwd, 'a.db'), 'precious');

  const refused = await runCli(['restore', ...args], { cwd });
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^Error: .*a\.db already exists\nKept: .*\nTry: .*-force/);
  assert.equal(readFileSync(join(cwd, 'a.db'), 'utf8'), 'precious');

  const forced = await runCli(['restore', '-force', ...args], { cwd });
  assert.equal(forced.status, 0, forced.stderr);
  const [, aside = ''] = /^Moved aside: (.*)$/m.exec(forced.stdout) ?? [];
  assert.equal(readFileSync(aside, 'utf8'), 'precious');
});

test('an existing database is refused without waiting for a store that does not answer', {
  timeout: 25_000, // the store would be given up after 30 s
}, async (t) => {
  const cwd = tempFolder(t);
  const server = await ScriptedServer.start(t, () => 'hang');
  writeFileSync(join(cwd, 'a.db'), 'precious');
  const env = { AWS_ACCESS_KEY_ID: KEY.accessKeyId, AWS_SECRET_ACCESS_KEY: KEY.secretAccessKey };
  const url = `s3://${BUCKET}/app?endpoint=${server.origin}&region=${REGION}`;
  const { status, stderr } = await runCli(['restore', '-o', 'a.db', url], { cwd, env });
  assert.equal(status, 1);
  assert.match(stderr, /^Error: .*a\.db already exists\n/);
});

test('-dry-run prints the plan as text or JSON, and writes nothing', async (t) => {
  const cwd = tempFolder(t);
  storeReplica(join(cwd, 'replica'));
  writeFileSync(join(cwd, 'rivulet.yml'), 'dbs: [{path: app.db, replica: {path: replica}}]');
  const url = pathToFileURL(join(cwd, 'replica')).href;

  const text = await runCli(['restore', '-dry-run', '-o', '/x/a.db', url]);
  assert.equal(text.status, 0, text.stderr);
  const lines = text.stdout.split('\n');
  assert.deepEqual(lines.slice(0, 7), [
    'Restore plan:',
    `  source: ${url}`,
    '  target: /x/a.db',
    '  replica: file',
    `  txid range: ${FIRST} - ${THIRD}`,
    '',
    'Files to fetch:',
  ]);
  assert.match(lines[7] ?? '', /^level {2}file {35}min_txid {10}max_txid {10}size +timestamp$/);
  assert.match(
    lines[8] ?? '',
    new RegExp(`^9 {6}${FIRST}-${FIRST}\\.ltx {2}${FIRST} {2}${FIRST} {2}\\d+ +${CREATED}$`),
  );
  assert.equal(lines.length, 12);

  const json = JSON.parse((await runCli(['restore', '-dry-run', '-json', '-txid', FIRST, 'app.db'], { cwd })).stdout);
  assert.deepEqual(json, {
    source: 'app.db',
    target_path: json.target_path,
    replica: 'file',
    replica_url: json.replica_url,
    min_txid: FIRST,
    max_txid: FIRST,
    files: [
      {
        level: 9,
        name: formatLtxName(1n, 1n),
        min_txid: FIRST,
        max_txid: FIRST,
        size: json.files[0].size,
        timestamp: CREATED,
      },
    ],
  });
  assert.deepEqual(readdirSync(cwd).sort(), ['replica', 'rivulet.yml']);

  writeFileSync(join(cwd, 'app.db'), 'precious');
  const blocked = await runCli(['restore', '-dry-run', 'app.db'], { cwd });
  assert.match(blocked.stdout, /^The target exists: restoring to it needs -force/m);
});

test('-v tells the plan and each file as it is fetched', async (t) => {
  const cwd = tempFolder(t);
  storeReplica(join(cwd, 'replica'));
  const url = pathToFileURL(join(cwd, 'replica')).href;
  const { stdout } = await runCli(['restore', '-v', '-o', 'a.db', url], { cwd });
  assert.match(stdout, /^Restore plan:$/m);
  const fetched = [...stdout.matchAll(/msg=fetching file=(\S+)/g)].map(([, key]) => key);
  assert.deepEqual(fetched.sort(), [
    `ltx/0/${formatLtxName(2n, 2n)}`,
    `ltx/0/${formatLtxName(3n, 3n)}`,
    `ltx/9/${formatLtxName(1n, 1n)}`,
  ]);
});

test('-if-db-not-exists leaves an existing database alone and needs no configuration for it', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'app.db'), 'precious');
  // Not even a broken one is looked at.
  writeFileSync(join(cwd, 'rivulet.yml'), 'broken: [');
  for (const args of [['app.db'], ['-o', 'app.db', 'file:///nowhere'], ['-o=app.db', 'other.db']]) {
    const { status, stdout, stderr } = await runCli(['restore', '-if-db-not-exists', ...args], { cwd });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    assert.match(stdout, /^time=\S+ level=INFO msg="database already exists, skipping" path=\S+app\.db\n$/);
  }
  const json = await runCli(['restore', '-json', '-if-db-not-exists', 'app.db'], { cwd });
  assert.deepEqual({ status: json.status, stdout: json.stdout }, { status: 0, stdout: '' });
  assert.match(json.stderr, /skipping/);
  assert.equal(readFileSync(join(cwd, 'app.db'), 'utf8'), 'precious');
});

/** Says, at the end of a process, which modules it loaded. */
const LIST_MODULES = `data:text/javascript,${encodeURIComponent(`
  import { writeSync } from 'node:fs';
  import { registerHooks } from 'node:module';
  const urls = [];
  registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) });
  process.on('exit', () => writeSync(2, 'LOADED ' + urls.join(' ')));
`)}`;

test('-if-db-not-exists has an answer for a database that is there before anything heavy is loaded', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'app.db'), 'there');
  // The list comes at Node's own end.
  const env = { NODE_OPTIONS: `--import ${LIST_MODULES}`, RIVULET_LAUNCHER_SHELL: '' };
  const { status, stderr } = await runCli(['restore', '-if-db-not-exists', 'app.db'], { cwd, env });
  assert.equal(status, 0, stderr);
  const loaded = /LOADED (.*)$/.exec(stderr)?.[1]?.split(' ') ?? [];
  const light = /^node:(os|path)$|\/src\/(cli|base|config)\/[a-z-]+\.ts$/;
  assert.deepEqual([loaded.length > 3, loaded.filter((url) => !light.test(url))], [true, []]);
  // Each costs about a millisecond of every start of an application.
  assert.ok(loaded.length <= 17, loaded.join('\n'));
});

test('-if-db-not-exists restores a database that is missing, and says so of one that is empty', async (t) => {
  const cwd = tempFolder(t);
  storeReplica(join(cwd, 'replica'));
  const url = pathToFileURL(join(cwd, 'replica')).href;
  const missing = await runCli(['restore', '-if-db-not-exists', '-o', 'a.db', url], { cwd });
  assert.equal(missing.status, 0, missing.stderr);
  assert.ok(existsSync(join(cwd, 'a.db')));
  writeFileSync(join(cwd, 'empty.db'), '');
  const empty = await runCli(['restore', '-if-db-not-exists', '-o', 'empty.db', url], { cwd });
  assert.match(empty.stdout, /level=WARN msg=".*a file of 0 bytes"/);
});

test('-if-replica-exists accepts an empty replica, and nothing else', async (t) => {
  const cwd = tempFolder(t);
  storeReplica(join(cwd, 'replica'));
  writeFileSync(join(cwd, 'file'), '');
  const run = (...args: string[]): Promise<CliResult> =>
    runCli(['restore', '-if-replica-exists', '-o', 'a.db', ...args], { cwd });
  const url = (name: string): string => pathToFileURL(join(cwd, name)).href;

  const empty = await run(url('none'));
  assert.deepEqual({ status: empty.status, stderr: empty.stderr }, { status: 0, stderr: '' });
  assert.match(empty.stdout, /level=INFO msg="no matching backups found"/);

  assert.equal((await run('-dry-run', url('none'))).status, 1);
  assert.match((await run(url('file'))).stderr, /^Error: .*is not a folder/);
  assert.match((await run('-txid', 'ffffffffffffffff', url('replica'))).stderr, /^Error: TXID f+ cannot be restored/);
  const plain = await runCli(['restore', '-o', 'a.db', url('none')], { cwd });
  assert.equal(plain.status, 1);
  assert.match(plain.stderr, /^Error: .*holds no backup/);
  assert.ok(!existsSync(join(cwd, 'a.db')));
});

test('a database of the configuration whose replica is proven empty is a first start; what cannot be looked at is not', async (t) => {
  const cwd = tempFolder(t);
  const database = join(cwd, 'a.db');
  writeFileSync(join(cwd, 'rivulet.yml'), `dbs: [{ path: ${database}, replica: { path: ${join(cwd, 'replica')} } }]\n`);
  const run = (...args: string[]): Promise<CliResult> => runCli(['restore', ...args], { cwd });

  const first = await run('-v', database);
  assert.deepEqual({ status: first.status, stderr: first.stderr }, { status: 0, stderr: '' });
  assert.match(first.stdout, /level=WARN msg="no backup yet, nothing to restore: .*first start" db=.* replica=/);
  for (const args of [['-dry-run'], ['-txid', '0000000000000001'], ['-o', join(cwd, 'copy.db')]]) {
    const other = await run(...args, database);
    assert.equal(other.status, 1, args.join(' '));
    assert.match(other.stderr, /^Error: .*holds no backup/);
  }

  // Nor is a backup of Litestream 0.3.
  const old = join(cwd, 'replica', 'generations', '0123456789abcdef', 'snapshots');
  mkdirSync(old, { recursive: true });
  writeFileSync(join(old, '00000000.snapshot.lz4'), '');
  const unread = await run('-v', database);
  assert.equal(unread.status, 1);
  assert.match(unread.stderr, /^Error: the format of Litestream 0\.3, in which .* holds a backup .* not built/);
  rmSync(join(cwd, 'replica'), { recursive: true });

  // Files that an identity speaks of were lost: that is no first start.
  mkdirSync(join(cwd, 'replica'));
  writeFileSync(join(cwd, 'replica', 'rivulet.json'), '{"format":1,"lineage":"aa"}');
  const lost = await run('-v', database);
  assert.equal(lost.status, 1);
  assert.match(lost.stderr, /^Error: .*has an identity .* but no LTX files/);

  rmSync(join(cwd, 'replica'), { recursive: true });
  writeFileSync(join(cwd, 'replica'), 'not a folder');
  assert.equal((await run('-v', database)).status, 1);
  assert.ok(!existsSync(database));
});

test('a key in a URL is nowhere in what is printed', async (t) => {
  const fake = await FakeS3.start(t);
  const key = usesSecret(randomBytes(32).toString('base64'));
  const cwd = tempFolder(t);
  const folder = join(cwd, 'replica');
  storeReplica(folder);
  for (const name of readdirSync(join(folder, 'ltx', '0')))
    fake.store(`app/0000/${name}`, readFileSync(join(folder, 'ltx', '0', name)), {
      'x-amz-server-side-encryption-customer-key': key,
    });
  const { endpoint, credentials, bucket } = fake.location();
  const place = `s3://${bucket}/app?region=${REGION}&endpoint=${endpoint}`;
  const url = `${place}&sseCustomerKey=${encodeURIComponent(key)}`;
  const env = {
    AWS_ACCESS_KEY_ID: credentials?.accessKeyId ?? '',
    AWS_SECRET_ACCESS_KEY: credentials?.secretAccessKey.reveal() ?? '',
  };
  for (const [args, status] of [
    [['restore', '-v', '-o', 'a.db', url], 0],
    [['restore', '-dry-run', '-json', '-o', 'b.db', url], 0],
    [['restore', '-json', '-o', 'c.db', url], 0],
    [['ltx', '-json', url], 0],
    [['restore', url], 1],
    [['replicate', url], 1],
    [['replicate', url, 'a.db'], 1],
    [['replicate', 'a.db', url.replace('sse', 'see')], 1],
  ] as const) {
    const ended = await runCli(args, { cwd, env });
    const output = ended.stdout + ended.stderr;
    assert.equal(ended.status, status, output);
    for (const secret of [key, encodeURIComponent(key), encodeURIComponent(encodeURIComponent(key))]) {
      assert.ok(!output.includes(secret), `${args.slice(0, -1).join(' ')}: ${output}`);
    }
  }
});

test('bad input is one error and failure', async (t) => {
  const cwd = tempFolder(t);
  mkdirSync(join(cwd, 'folder'));
  const cases: [string[], RegExp][] = [
    [[], /^Error: database path or replica URL required\nTry: rivulet restore -o /],
    [['a', 'b'], /^Error: too many arguments\n/],
    [
      ['file:///r'],
      /^Error: -o is required when restoring from a replica URL\nTry: rivulet restore -o .* file:\/\/\/r\n/,
    ],
    [['-config', 'x', '-o', 'a', 'file:///r'], /^Error: cannot specify a replica URL and the -config flag\n/],
    [
      ['-txid', 'ff', 'a'],
      /^Error: invalid value "ff" .*: invalid txid format\nTry: write 16 hex digits: 00000000000000ff/,
    ],
    [['-txid', 'x', 'a'], /invalid txid format/],
    [['-integrity-check', 'x', 'a'], /^Error: invalid -integrity-check value: x\n/],
    [['-parallelism', '0', 'a'], /^Error: invalid value "0" for flag -parallelism/],
    [['-timestamp', '2026-01-01T00:00:00Z', 'a'], /^Error: the flag -timestamp is known .* not built in Rivulet yet\n/],
    [['-f', 'a'], /^Error: the flag -f is known .* not built/],
    [['-follow-interval=1s', 'a'], /^Error: the flag -follow-interval is known .* not built/],
    [['-generation', 'x', 'a'], /^Error: flag provided but not defined: -generation\n/],
    [['-if-db-not-exists', 'folder'], /^Error: .*folder is a folder/],
    [['a'], /^Error: config file not found: /],
  ];
  for (const [args, expected] of cases) {
    const { status, stdout, stderr } = await runCli(['restore', ...args], { cwd });
    assert.deepEqual({ status, stdout }, { status: 1, stdout: '' }, args.join(' '));
    assert.match(stderr, expected);
  }
});
