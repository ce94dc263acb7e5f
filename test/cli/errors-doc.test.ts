import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The codes that the sources give to errors, by how they are written there. */
function codesInSources(): Set<string> {
  const codes = new Set<string>();
  for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const text = readFileSync(join(root, 'src', file), 'utf8');
    for (const [, code] of text.matchAll(/\bcode(?:: | = )'([A-Z][A-Z_]+)'/g)) if (code) codes.add(code);
    const kinds = /type StoreErrorKind = ([^;]+);/.exec(text)?.[1] ?? '';
    for (const [, kind = ''] of kinds.matchAll(/'([a-z-]+)'/g)) {
      codes.add(`STORE_${kind.replace('-', '_').toUpperCase()}`);
    }
  }
  return codes;
}

test('every error code is documented', () => {
  const documented = readFileSync(join(root, 'docs/errors.md'), 'utf8');
  const codes = codesInSources();
  assert.ok(codes.has('USAGE') && codes.has('STORE_NOT_FOUND') && codes.has('STORE_INVALID_KEY'));
  const missing = [...codes].filter((code) => !documented.includes(`\`${code}\``));
  assert.deepEqual(missing, []);
});
