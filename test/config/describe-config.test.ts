import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { Config } from '../../src/config/config.ts';
import { configValues, configYaml } from '../../src/config/describe-config.ts';
import { parseConfig } from '../../src/config/load-config.ts';
import { fileSchema, sectionAt } from '../../src/config/schema.ts';
import { LITESTREAM_FILES } from './litestream-files.ts';

const KEY = Buffer.from('01234567890123456789012345678901').toString('base64');

/** Without what the text does not have: its own path, warnings, and secrets. */
function comparable({ dbs, path, warnings, ...rest }: Config): unknown {
  return { ...rest, dbs: dbs.map(({ replica, ...database }) => ({ ...database, replica: JSON.stringify(replica) })) };
}

const TEXTS = [
  ...LITESTREAM_FILES,
  {
    text: `logging: {level: trace, type: json, stderr: true}
exec: echo "$$HOME"
dbs:
  - path: /a
    meta-path: /m
    checkpoint-interval: 0
    max-sync-wal-bytes: 0
    truncate-page-n: -1
    set-wal: false
    replica: {path: "/r: #x", upload-limit: 1MB, max-connections: 3}
  - {path: /b, replica: {url: "s3://bucket"}}
  - {path: /c, replica: {type: s3, bucket: bucket, path: /x/, session-token: t, access-key-id: i, secret-access-key: s}}
  - {path: /d, replica: {type: s3, bucket: other, sse-kms-key-id: k, root-cas: [/x.pem], download-limit: 5}}
`,
    env: {},
  },
];

test('the printed configuration means the same, all defaults included', () => {
  for (const { text, env = {} } of TEXTS) {
    const config = parseConfig(text, 'c.yml', { env });
    const printed = parseConfig(configYaml(config), 'c.yml', { expandEnv: false });
    assert.deepEqual(comparable(printed), comparable(config), text);
    assert.deepEqual(printed.warnings, []);
  }
});

test('the printed configuration has no secrets', () => {
  const text = `dbs: [{path: /a, replica: {type: s3, bucket: b, access-key-id: public, secret-access-key: hunter2,
    session-token: hunter2, sse-customer-key: ${KEY}}}]`;
  const printed = configYaml(parseConfig(text, 'c.yml'));
  assert.ok(!printed.includes('hunter2') && !printed.includes(KEY), printed);
  assert.match(printed, /access-key-id: public\n\s+secret-access-key: \(hidden\)/);
  assert.match(printed, /sse-customer-key: \(hidden\)/);
});

test('the printed configuration has only keys that a configuration may have', () => {
  const values = configValues(parseConfig('dbs: [{path: /a, replica: {path: /r}}]', 'c.yml'));
  const unknown = (section: object, known: readonly string[]) =>
    Object.keys(section).filter((key) => !known.includes(key));
  assert.deepEqual(unknown(values, Object.keys(fileSchema.shape)), []);
  assert.deepEqual(unknown(values.dbs[0] ?? {}, sectionAt(['dbs', 0]).built), []);
  assert.ok(Array.isArray(parse(configYaml(parseConfig('dbs: []', 'c.yml'))).dbs));
});
