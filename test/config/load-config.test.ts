import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import {
  DATABASE_DEFAULTS,
  type DatabaseConfig,
  defaultConfig,
  defaultDatabaseConfig,
  REPLICA_DEFAULTS,
} from '../../src/config/config.ts';
import { ConfigError, type ConfigProblem } from '../../src/config/config-error.ts';
import { DEFAULT_CONFIG_PATHS, type LoadOptions, loadConfig, parseConfig } from '../../src/config/load-config.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'rivulet-config-'));
after(() => fs.rmSync(folder, { recursive: true }));

const folderOf = (database?: DatabaseConfig) => (database?.replica.type === 'file' ? database.replica.path : undefined);

const DB = 'dbs: [{path: /a.db, replica: {path: /r}}]\n';

test('the smallest configuration has every default', () => {
  const config = parseConfig(DB, 'c.yml');
  assert.deepEqual(config, {
    dbs: [
      {
        path: '/a.db',
        metaPath: undefined,
        monitorIntervalMs: 1000,
        busyTimeoutMs: 1000,
        minCheckpointPageCount: 1000,
        checkpointIntervalMs: 60_000,
        truncatePageCount: 121_359,
        maxSyncWalBytes: 67_108_864,
        maxSpoolBytes: 1_073_741_824,
        restoreIfMissing: false,
        setWal: true,
        replica: { type: 'file', path: '/r', url: 'file:///r', ...REPLICA_DEFAULTS },
      },
    ],
    exec: undefined,
    addr: undefined,
    logging: { level: 'info', type: 'text', stderr: false },
    shutdownSyncTimeoutMs: 30_000,
    shutdownSyncIntervalMs: 500,
    warnings: [],
    path: 'c.yml',
  });
});

test('a database and a URL on the command line mean the same as the smallest configuration', () => {
  const config = defaultConfig(defaultDatabaseConfig('/a.db', 'file:///r'));
  assert.deepEqual(config, { ...parseConfig(DB, 'c.yml'), path: undefined });
});

test('every key that is built reaches the result', () => {
  const text = `
exec: node server.js
addr: ':9090'
logging: {level: DEBUG, type: json, stderr: yes}
shutdown-sync-timeout: 0s
shutdown-sync-interval: 1s
sync-interval: 3s
dbs:
  - path: sqlite:///data/app.db
    meta-path: /var/lib/rivulet
    monitor-interval: 100ms
    busy-timeout: 0s
    min-checkpoint-page-count: 10
    checkpoint-interval: 1m30s
    truncate-page-n: 5000
    max-sync-wal-bytes: 1048576
    max-spool-bytes: 10MiB
    restore-if-db-not-exists: true
    set-wal: off
    replica:
      type: file
      url: file:///backups/app
      sync-interval: 500ms
  - path: /data/b.db
    replicas:
      - path: /backups/b
`;
  const config = parseConfig(text, 'c.yml');
  assert.deepEqual(config.dbs, [
    {
      path: '/data/app.db',
      metaPath: '/var/lib/rivulet',
      monitorIntervalMs: 100,
      busyTimeoutMs: 0,
      minCheckpointPageCount: 10,
      checkpointIntervalMs: 90_000,
      truncatePageCount: 5000,
      maxSyncWalBytes: 1_048_576,
      maxSpoolBytes: 10_485_760,
      restoreIfMissing: true,
      setWal: false,
      replica: {
        type: 'file',
        path: '/backups/app',
        url: 'file:///backups/app',
        ...REPLICA_DEFAULTS,
        syncIntervalMs: 500,
      },
    },
    {
      ...DATABASE_DEFAULTS,
      path: '/data/b.db',
      replica: {
        type: 'file',
        path: '/backups/b',
        url: 'file:///backups/b',
        ...REPLICA_DEFAULTS,
        syncIntervalMs: 3000,
      },
    },
  ]);
  assert.equal(config.exec, 'node server.js');
  assert.deepEqual(config.addr, { host: undefined, port: 9090 });
  assert.deepEqual(config.logging, { level: 'debug', type: 'json', stderr: true });
  assert.equal(config.shutdownSyncTimeoutMs, 0);
  assert.equal(config.shutdownSyncIntervalMs, 1000);
  assert.deepEqual(config.warnings, []);
});

test('zero and negative numbers turn limits off as in Litestream', () => {
  const of = (line: string) => parseConfig(`dbs: [{path: /a, replica: {path: /r}, ${line}}]`, 'c.yml').dbs[0];
  assert.equal(of('checkpoint-interval: 0s')?.checkpointIntervalMs, Number.POSITIVE_INFINITY);
  assert.equal(of('checkpoint-interval: 0')?.checkpointIntervalMs, Number.POSITIVE_INFINITY);
  assert.equal(of('max-sync-wal-bytes: 0')?.maxSyncWalBytes, Number.POSITIVE_INFINITY);
  assert.equal(of('truncate-page-n: 0')?.truncatePageCount, 121_359);
  assert.equal(of('truncate-page-n: -1')?.truncatePageCount, Number.POSITIVE_INFINITY);
});

test('a key without a value is as if it were not there', () => {
  const config = parseConfig('exec:\nlogging:\ndbs:\n  - {path: /a, replica: {path: /r, url: }, meta-path: }', 'c.yml');
  assert.equal(config.exec, undefined);
  assert.equal(folderOf(config.dbs[0]), '/r');
  assert.deepEqual(parseConfig('', 'c.yml').dbs, []);
});

test('settings that nothing acts on yet are accepted, and each is a warning with its place', () => {
  const text = `levels:
  - interval: 30s
snapshot: {interval: 1h, retention: 24h}
l0-retention: 5m
l0-retention-check-interval: 15s
dbs:
  - path: /a
    snapshot: {interval: 1h}
    replica: {path: /r, name: old}
`;
  const { warnings } = parseConfig(text, 'c.yml');
  const places = warnings.map((warning) => /^c\.yml:(\d+:\d+): ([\w.[\]-]+)/.exec(warning)?.slice(1).join(' '));
  assert.deepEqual(places, [
    '1:1 levels',
    '3:1 snapshot',
    '4:1 l0-retention',
    '5:1 l0-retention-check-interval',
    '8:5 dbs[0].snapshot',
  ]);
});

test('anchors and merge keys work, and a key of its own wins over a merged one', () => {
  const text = `dbs:
  - &first
    path: /a
    busy-timeout: 3s
    replica: {path: /r}
  - <<: *first
    path: /b
    replica: {path: /s}
`;
  const config = parseConfig(text, 'c.yml');
  assert.deepEqual(
    config.dbs.map(({ path, busyTimeoutMs, replica }) => [path, busyTimeoutMs, replica.url]),
    [
      ['/a', 3000, 'file:///r'],
      ['/b', 3000, 'file:///s'],
    ],
  );
});

/** Each case: the text, and the line, column, code and (a part of) the message of each problem. */
const WRONG: [string, ...[number, number, string, RegExp][]][] = [
  ['dbs: [', [1, 7, 'CONFIG_SYNTAX', /./]],
  ['a: 1\na: 2', [2, 1, 'CONFIG_SYNTAX', /unique/]],
  ['dbs:\n\t- x', [2, 1, 'CONFIG_SYNTAX', /[Tt]ab/]],
  ['exec: !zork x', [1, 7, 'CONFIG_SYNTAX', /tag/]],
  ['exec: *none', [1, 7, 'CONFIG_SYNTAX', /no anchor/]],
  ['exec: &a [*a]', [1, 11, 'CONFIG_SYNTAX', /too large or too deep/]],
  ['? [a]\n: b', [1, 3, 'CONFIG_SYNTAX', /key must be a word/]],
  ['--- 1\n--- 2', [2, 1, 'CONFIG_SYNTAX', /document/]],
  ['- x', [1, 1, 'CONFIG_VALUE', /^c\.yml:1:1: must be a map/]],
  ['dbs: 5', [1, 6, 'CONFIG_VALUE', /dbs: must be a list/]],
  ['dbs: [5]', [1, 7, 'CONFIG_VALUE', /dbs\[0\]: must be a map/]],
  ['dbs:\n  - path: /a\n    replica: /r', [3, 14, 'CONFIG_VALUE', /dbs\[0\]\.replica: must be a map/]],
  ['zork: 1', [1, 1, 'CONFIG_UNKNOWN_KEY', /unknown key `zork`/]],
  ['__proto__: 1', [1, 1, 'CONFIG_UNKNOWN_KEY', /unknown key `__proto__`/]],
  ['zork:', [1, 1, 'CONFIG_UNKNOWN_KEY', /unknown key `zork`/]],
  ['dbs:\n  - path: /a\n    replica:\n      pth: /r', [4, 7, 'CONFIG_UNKNOWN_KEY', /`pth` in dbs\[0\]\.replica/]],
  ['logging: {levl: info}', [1, 11, 'CONFIG_UNKNOWN_KEY', /`levl` in logging/]],
  ['levels: [{intervall: 1s, interval: 1s}]', [1, 11, 'CONFIG_UNKNOWN_KEY', /`intervall` in levels\[0\]/]],
  ['age: {}', [1, 1, 'NOT_BUILT', /`age` is known to Litestream and not built in Rivulet yet/]],
  ['dbs: [{dir: /d, replica: {path: /r}}]', [1, 8, 'NOT_BUILT', /`dir` is known/]],
  ['dbs: [{path: /a, replica: {path: /r, age: {}}}]', [1, 38, 'NOT_BUILT', /`age` is known/]],
  ['dbs: [{path: /a, replica: {type: gs}}]', [1, 34, 'NOT_BUILT', /replica type `gs`/]],
  ['dbs: [{path: /a, replica: {url: "gs://b"}}]', [1, 33, 'NOT_BUILT', /replica type `gs`/]],
  ['dbs: [{path: /a, replica: {type: zork}}]', [1, 34, 'REPLICA_TYPE_UNKNOWN', /unknown replica type: "zork"/]],
  ['dbs: [{path: /a, replica: {url: "file://x"}}]', [1, 33, 'REPLICA_URL_INVALID', /not an absolute path/]],
  ['dbs: [{path: /a, replica: {path: /x//y}}]', [1, 34, 'REPLICA_URL_INVALID', /empty part/]],
  ['dbs: [{path: /a, replica: {path: "file:///r"}}]', [1, 34, 'CONFIG_VALUE', /cannot be a url, please use the 'url'/]],
  ['dbs: [{path: /a, replica: {url: "file:///r", path: /r}}]', [1, 52, 'CONFIG_VALUE', /cannot specify url & path/]],
  ['dbs: [{path: /a, replica: {type: file}}]', [1, 27, 'CONFIG_VALUE', /file replica path required/]],
  ['dbs: [{path: /a}]', [1, 7, 'CONFIG_VALUE', /must specify replica for database/]],
  ['dbs: [{path: /a, replicas: []}]', [1, 7, 'CONFIG_VALUE', /must specify replica for database/]],
  ['dbs: [{replica: {path: /r}}]', [1, 7, 'CONFIG_VALUE', /database config #1: must specify 'path'/]],
  ['dbs: [{path: /a, replicas: [{path: /r}, {path: /s}]}]', [1, 41, 'CONFIG_VALUE', /multiple replicas/]],
  [
    'dbs: [{path: /a, replica: {path: /r}, replicas: [{path: /s}]}]',
    [1, 49, 'CONFIG_VALUE', /'replica' and 'replicas'/],
  ],
  ['dbs: [{path: /a, replica: {path: /r}}, {path: /a, replica: {path: /s}}]', [1, 47, 'CONFIG_VALUE', /is dbs\[0\]/]],
  ['dbs: [{path: /a, replica: {path: /r}}, {path: /b, replica: {path: /r/}}]', [1, 60, 'CONFIG_VALUE', /same replica/]],
  ['dbs: [{path: /a, replica: {path: /r}, set-wal: 2}]', [1, 48, 'CONFIG_VALUE', /true or false \(got 2\)/]],
  [
    'dbs: [{path: /a, replica: {path: /r}, truncate-page-n: 1.5}]',
    [1, 56, 'CONFIG_VALUE', /whole number \(got 1\.5\)/],
  ],
  ['dbs: [{path: /a, replica: {path: /r}, max-sync-wal-bytes: -1}]', [1, 59, 'CONFIG_VALUE', /size .*\(got -1\)/]],
  ['dbs: [{path: /a, replica: {path: /r}, max-spool-bytes: 0}]', [1, 56, 'CONFIG_VALUE', /greater than 0 \(got 0\)/]],
  [
    'dbs: [{path: /a, replica: {path: /r}, min-checkpoint-page-count: 0}]',
    [1, 66, 'CONFIG_VALUE', /minimum checkpoint page count must be greater than 0 \(got 0\)/],
  ],
  ['dbs: [{path: /a, replica: {path: /r}, busy-timeout: -1s}]', [1, 53, 'CONFIG_VALUE', /negative \(got -1s\)/]],
  [
    'dbs: [{path: /a, replica: {path: /r}, monitor-interval: 0s}]',
    [1, 57, 'CONFIG_VALUE', /greater than 0 \(got 0s\)/],
  ],
  ['sync-interval: -1s', [1, 16, 'CONFIG_VALUE', /sync-interval: sync interval must not be negative \(got -1s\)/]],
  ['sync-interval: 5', [1, 16, 'CONFIG_VALUE', /duration with units.*\(got 5\)/]],
  ['sync-interval: [5s]', [1, 16, 'CONFIG_VALUE', /duration with units/]],
  ['sync-interval: 1000h', [1, 16, 'CONFIG_VALUE', /at most 596h31m23\.647s \(got 1000h0m0s\)/]],
  ['l0-retention: -1s', [1, 15, 'CONFIG_VALUE', /l0 retention must not be negative \(got -1s\)/]],
  ['snapshot: {interval: 0s}', [1, 22, 'CONFIG_VALUE', /snapshot\.interval: snapshot interval must be greater/]],
  ['levels: [{interval: 0s}]', [1, 21, 'CONFIG_VALUE', /levels\[0\]\.interval: compaction interval must be/]],
  [`levels: [${Array(9).fill('{interval: 1s}').join(', ')}]`, [1, 9, 'CONFIG_VALUE', /cannot exceed 8/]],
  ['shutdown-sync-timeout: -1s', [1, 24, 'CONFIG_VALUE', /shutdown-sync-timeout must not be negative/]],
  ['shutdown-sync-interval: 0s', [1, 25, 'CONFIG_VALUE', /shutdown sync interval must be greater than 0/]],
  ['logging: {level: loud}', [1, 18, 'CONFIG_VALUE', /one of trace, debug, info, warn, error \(got loud\)/]],
  ['logging: {type: xml}', [1, 17, 'CONFIG_VALUE', /one of text, json, pretty \(got xml\)/]],
  [
    'dbs:\n  - {path: /a, snapshot: {interval: 1h}, replica: {path: /r}}\n  - {path: /b, snapshot: {interval: 2h}, replica: {path: /s}}',
    [3, 37, 'CONFIG_VALUE', /conflicting database snapshot intervals: \/a has 1h0m0s, \/b has 2h0m0s/],
  ],
  [`exec: "run \${NONE}"`, [1, 12, 'CONFIG_VARIABLE', /variable NONE is not set/]],
  ['exec: |\n  first\n  then $NONE', [3, 8, 'CONFIG_VARIABLE', /variable NONE is not set/]],
  ['exec: a$', [1, 8, 'CONFIG_VARIABLE', /not a variable/]],
  [`exec: \${NONE:?which one?}`, [1, 7, 'CONFIG_VARIABLE', /NONE is unset or empty: which one\?/]],
  ['zork: 1\n\n  \nsync-interval: x', [1, 1, 'CONFIG_UNKNOWN_KEY', /zork/], [4, 16, 'CONFIG_VALUE', /sync-interval/]],
];

for (const [text, ...expected] of WRONG) {
  test(`line and column of what is wrong in ${JSON.stringify(text.slice(0, 70))}`, () => {
    const error = failure(text);
    const problems = error.problems.map(({ line, column, code }: ConfigProblem) => [line, column, code]);
    assert.deepEqual(
      problems,
      expected.map((problem) => problem.slice(0, 3)),
      error.message,
    );
    for (const [line, column, , message] of expected) {
      assert.match(error.message, message);
      assert.ok(error.message.includes(`c.yml:${line}:${column}: `), error.message);
    }
    assert.equal(error.code, expected[0]?.[2]);
  });
}

test('an unknown key is answered with the nearest known one', () => {
  assert.match(failure('dbs: [{path: /a, busy-timout: 1s}]').next ?? '', /did you mean `busy-timeout`\?/);
  assert.match(failure('heartbeat-ulr: x').next ?? '', /did you mean `heartbeat-url`\?/);
  assert.match(failure('zork: x').next ?? '', /known here: dbs, exec/);
});

test('every problem is told at once, up to a dozen', () => {
  const error = failure(Array.from({ length: 20 }, (_, i) => `zork${i}: 1`).join('\n'));
  assert.equal(error.problems.length, 20);
  assert.match(error.message, /^20 problems:\n {2}c\.yml:1:1: .*\n.*\n {2}and 8 more$/s);
});

test('references in values are expanded, those in comments and keys are not', () => {
  const env = { ENV: 'prod', N: '77', ON: 'true', EVERY: '2s', YAML: 'x: [' };
  const text = `# $NOT_SET is no problem here
exec: "echo $ENV $YAML"
dbs:
  - path: \${DB:-/data/app.db}
    truncate-page-n: \${N}
    set-wal: $ON
    replica: {path: "/backups/app-\${ENV}", sync-interval: $EVERY}
`;
  const config = parseConfig(text, 'c.yml', { env });
  assert.equal(config.exec, 'echo prod x: [');
  assert.equal(config.dbs[0]?.path, '/data/app.db');
  assert.equal(config.dbs[0]?.truncatePageCount, 77);
  assert.equal(config.dbs[0]?.setWal, true);
  assert.equal(folderOf(config.dbs[0]), '/backups/app-prod');
  assert.equal(config.dbs[0]?.replica.syncIntervalMs, 2000);
});

test('without expansion a dollar sign is a dollar sign', () => {
  const config = parseConfig('exec: echo $HOME $$', 'c.yml', { expandEnv: false });
  assert.equal(config.exec, 'echo $HOME $$');
});

test('an empty variable does not make a replica of the folder above', () => {
  const text = 'dbs: [{path: /a, replica: {path: "/backups/$APP/db"}}]';
  assert.match(failure(text, { env: { APP: '' } }).message, /empty part/);
});

test('a configuration is looked for where the flag, then the variables, then the default places say', () => {
  const write = (name: string): string => {
    fs.writeFileSync(join(folder, name), `exec: from ${name}\n`);
    return join(folder, name);
  };
  const [flag, own, litestream, first, second] = ['flag', 'own', 'litestream', 'first', 'second'].map(write);
  assert.ok(first && second);
  const defaultPaths = [join(folder, 'none'), first, second];
  const found = (options: LoadOptions) => loadConfig({ defaultPaths, env: {}, ...options });

  const env = { RIVULET_CONFIG: own, LITESTREAM_CONFIG: litestream };
  assert.equal(found({ path: flag, env }).exec, 'from flag');
  assert.equal(found({ env }).exec, 'from own');
  assert.equal(found({ env: { ...env, RIVULET_CONFIG: '' } }).exec, 'from litestream');
  assert.equal(found({}).exec, 'from first');
  fs.rmSync(first);
  assert.equal(found({}).exec, 'from second');
  assert.equal(found({}).path, second);
  assert.deepEqual(DEFAULT_CONFIG_PATHS, ['rivulet.yml', 'litestream.yml', '/etc/rivulet.yml', '/etc/litestream.yml']);
});

test('a configuration that is named and missing is not replaced by another one', () => {
  const existing = join(folder, 'existing');
  fs.writeFileSync(existing, '');
  const options = { defaultPaths: [existing], env: {} };
  const missing = join(folder, 'missing.yml');
  const message = `config file not found: ${missing}`;
  assert.throws(() => loadConfig({ ...options, path: missing }), { code: 'CONFIG_NOT_FOUND', message });
  assert.throws(() => loadConfig({ ...options, env: { RIVULET_CONFIG: missing } }), {
    code: 'CONFIG_NOT_FOUND',
    message,
  });
  assert.throws(() => loadConfig({ ...options, path: 'relative.yml' }), {
    message: `config file not found: ${resolve('relative.yml')}`,
  });
});

test('a configuration that cannot be read is an error, even in a default place', () => {
  assert.throws(() => loadConfig({ defaultPaths: [folder], env: {} }), {
    code: 'CONFIG_UNREADABLE',
    message: /is a folder/,
  });
});

function failure(text: string, options: LoadOptions = { env: {} }): ConfigError {
  try {
    parseConfig(text, 'c.yml', options);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`no error for ${text}`);
}

test('what is one place under two names is found out: database, replica, meta-path', () => {
  const folder = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'rivulet-test-')));
  after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(join(folder, 'a.db'), '');
  fs.mkdirSync(join(folder, 'r'));
  fs.symlinkSync('a.db', join(folder, 'link.db'));
  fs.symlinkSync('r', join(folder, 'link'));
  const refused = (first: string, second: string, message: RegExp): void =>
    void assert.throws(() => parseConfig(`dbs: [{${first}}, {${second}}]`, 'x.yml'), message);
  const at = (name: string): string => join(folder, name);
  refused(
    `path: ${at('a.db')}, replica: {path: /r1}`,
    `path: ${at('link.db')}, replica: {path: /r2}`,
    /link\.db is dbs\[0\] already/,
  );
  refused(
    `path: /b1, replica: {path: ${at('r/new')}}`,
    `path: /b2, replica: {path: ${at('link/new')}}`,
    /same replica/,
  );
  refused(
    `path: /b1, meta-path: ${at('r')}, replica: {path: /r1}`,
    `path: /b2, meta-path: ${at('link')}, replica: {path: /r2}`,
    /same meta-path/,
  );
});

test('a second YAML document and values of odd kinds are told in a sentence', () => {
  assert.throws(() => parseConfig('dbs: []\n---\ndbs: []', 'x.yml'), /x\.yml:2:1: a second YAML document/);
  assert.throws(() => parseConfig('!!binary aaaa', 'x.yml'), /neither text, number nor switch/);
});
