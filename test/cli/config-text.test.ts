import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RivuletError } from '../../src/base/errors.ts';
import { checkJson, describeReplica } from '../../src/cli/config-text.ts';
import { defaultConfig, defaultDatabaseConfig } from '../../src/config/config.ts';
import { StoreError } from '../../src/store/store.ts';

const database = defaultDatabaseConfig('/a.db', 's3://bucket/app');

test('a step that is denied names the permission, and one that is not supported what that means', () => {
  const denied = new StoreError('denied', { message: 'no' });
  const text = describeReplica({
    database,
    steps: [
      { name: 'list', outcome: 'failed', error: denied, missing: 's3:ListBucket' },
      { name: 'write', outcome: 'ok' },
      { name: 'conditional write', outcome: 'not supported' },
      { name: 'read', outcome: 'failed', error: new StoreError('transient', { message: 'gone' }) },
      { name: 'delete', outcome: 'skipped' },
    ],
  });
  assert.equal(
    text,
    `s3://bucket/app
  list               failed (needs s3:ListBucket)
  write              ok
  conditional write  not supported: two writers at a time would not be noticed
  read               failed
  delete             skipped
`,
  );
});

test('a replica that could not be tried is told in both forms', () => {
  const error = new RivuletError({ code: 'NOT_BUILT', message: 'not yet', next: 'wait' });
  assert.equal(describeReplica({ database, steps: [], error }), 's3://bucket/app\n  open  failed\n');
  const json = JSON.parse(checkJson(defaultConfig(database), [{ database, steps: [], error }]));
  assert.deepEqual(json.replicas[0].error, { code: 'NOT_BUILT', message: 'not yet', next: 'wait' });
});
