import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../src/config/load-config.ts';
import { LITESTREAM_FILES } from './litestream-files.ts';

for (const { name, text, env = {}, urls, warnings = [] } of LITESTREAM_FILES) {
  test(`a configuration of Litestream works unchanged: ${name}`, () => {
    const config = parseConfig(text, 'litestream.yml', { env });
    assert.deepEqual(
      config.dbs.map(({ replica }) => replica.url),
      urls,
    );
    const keys = config.warnings.map((warning) => /^litestream\.yml:\d+:\d+: ([^:]+):/.exec(warning)?.[1]);
    assert.deepEqual(keys, warnings);
  });
}

test('a variable that is missing there is an error, not a neighbour of all environments', () => {
  const [first] = LITESTREAM_FILES;
  assert.throws(
    () => parseConfig(first?.text ?? '', 'litestream.yml', { env: {} }),
    /7:24: variable ENVIRONMENT is not set/,
  );
});
