import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireEngine, requireSqlite } from '../../src/sqlite/engine.ts';

test('a Node with a SQLite that cannot corrupt a database is accepted', () => {
  for (const node of ['22.22.3', '22.23.0', '24.15.0', '24.21.0', '25.0.0']) requireEngine({ node, sqlite: '3.51.3' });
  requireEngine({ node: '24.15.0', sqlite: '3.52.0' });
  requireEngine({ node: '24.15.0', sqlite: '4.0.0' });
  requireEngine();
});

test('the SQLite that is in use has the last word', () => {
  requireSqlite('3.51.3');
  assert.throws(() => requireSqlite('3.51.2'), { code: 'ENGINE_TOO_OLD', message: /SQLite 3\.51\.2;/ });
  assert.throws(() => requireSqlite(undefined), { code: 'ENGINE_TOO_OLD' });
});

test('older ones are refused, and what is needed is said', () => {
  const cases = [
    { node: '22.22.2', sqlite: '3.51.3' },
    { node: '20.19.0', sqlite: '3.51.3' },
    { node: '23.11.0', sqlite: '3.51.3' },
    { node: '24.14.9', sqlite: '3.51.3' },
    { node: '24.15.0', sqlite: '3.51.2' },
    { node: '24.15.0', sqlite: '3.50.9' },
    { node: '24.15.0', sqlite: undefined },
    { node: '24.15.0-nightly', sqlite: '3.51' },
  ];
  for (const versions of cases) {
    assert.throws(
      () => requireEngine(versions),
      { code: 'ENGINE_TOO_OLD', message: /3\.51\.3/ },
      JSON.stringify(versions),
    );
  }
});
