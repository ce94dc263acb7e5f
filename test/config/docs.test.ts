import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sectionAt } from '../../src/config/schema.ts';

test('every key of the configuration is documented', () => {
  const documented = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  const keys = [[], ['dbs', 0], ['dbs', 0, 'replica']].flatMap((path) => sectionAt(path).built);
  assert.ok(keys.includes('set-wal') && keys.includes('url') && keys.includes('exec'));
  const missing = keys.filter((key) => !new RegExp(`\`(dbs\\[\\]\\.)?${key}[\`.]`).test(documented));
  assert.deepEqual(missing, []);
});
