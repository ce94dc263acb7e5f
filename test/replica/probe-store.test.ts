import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type ProbeStep, probeStore } from '../../src/replica/probe-store.ts';
import type { FaultRule } from '../../src/store/fault/fault-rule.ts';
import { FaultStore } from '../../src/store/fault/fault-store.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import type { PutBody, PutOptions, Store } from '../../src/store/store.ts';
import { tempFolder } from '../support/temp.ts';

interface Probed {
  readonly steps: readonly ProbeStep[];
  /** `name: outcome` of each step. */
  readonly outcomes: readonly string[];
  /** What the probe has left behind. */
  readonly left: readonly string[];
}

async function probe(t: TestContext, rules: readonly FaultRule[], wrap = (store: Store) => store): Promise<Probed> {
  const root = tempFolder(t);
  const store = new FaultStore(wrap(new FileStore({ root })), { rules });
  const steps = await probeStore(store);
  await store.close();
  const outcomes = steps.map(({ name, outcome }) => `${name}: ${outcome}`);
  return { steps, outcomes, left: readdirSync(root, { recursive: true, encoding: 'utf8' }) };
}

const ALL_OK = ['list: ok', 'write: ok', 'conditional write: ok', 'read: ok', 'delete: ok'];

/** ALL_OK with one outcome changed. */
const but = (name: string, outcome: string): string[] =>
  ALL_OK.map((line) => (line.startsWith(`${name}:`) ? `${name}: ${outcome}` : line));

test('a store that does all that is needed passes, and nothing is left there', async (t) => {
  const { outcomes, left } = await probe(t, []);
  assert.deepEqual(outcomes, ALL_OK);
  assert.deepEqual(left, []);
});

test('each step fails by itself, and the permission that is missing is named', async (t) => {
  const cases: [FaultRule['verb'], ProbeStep['name'], string][] = [
    ['list', 'list', 's3:ListBucket'],
    ['open', 'read', 's3:GetObject'],
    ['delete', 'delete', 's3:DeleteObject'],
  ];
  for (const [verb, name, action] of cases) {
    const { steps, outcomes, left } = await probe(t, [
      { verb, kind: 'error-before', errorKind: 'denied', permission: action },
    ]);
    assert.deepEqual(outcomes, but(name, 'failed'));
    const failed = steps.find(({ outcome }) => outcome === 'failed');
    assert.equal(failed?.missing, action);
    assert.equal(failed?.error?.code, 'STORE_DENIED');
    assert.equal(left.length, verb === 'delete' ? 1 : 0);
  }
});

test('where nothing can be written the rest is skipped', async (t) => {
  const rules: FaultRule[] = [{ verb: 'put', kind: 'error-before', errorKind: 'denied', permission: 's3:PutObject' }];
  const { steps, outcomes } = await probe(t, rules);
  const skipped = ['conditional write: skipped', 'read: skipped', 'delete: skipped'];
  assert.deepEqual(outcomes, ['list: ok', 'write: failed', ...skipped]);
  assert.equal(steps[1]?.missing, 's3:PutObject');
});

test('an object whose answer was lost is removed all the same', async (t) => {
  const { outcomes, left } = await probe(t, [{ verb: 'put', kind: 'error-after', times: 1 }]);
  assert.equal(outcomes[1], 'write: failed');
  assert.deepEqual(left, []);
});

test('a failure that is no refusal names no permission', async (t) => {
  const { steps } = await probe(t, [{ verb: 'open', kind: 'error-before', errorKind: 'transient' }]);
  assert.equal(steps[3]?.outcome, 'failed');
  assert.equal(steps[3].missing, undefined);
});

/** A store that does not know what a conditional create is, and overwrites. */
function overwriting(store: Store): Store {
  return {
    url: store.url,
    conditionalWrites: async () => false,
    list: (prefix, options) => store.list(prefix, options),
    open: (key, options) => store.open(key, options),
    put: (key: string, body: PutBody, options: PutOptions = {}) =>
      store.put(key, body, { ...options, ifAbsent: false }),
    delete: (keys, options) => store.delete(keys, options),
    close: () => store.close(),
  };
}

test('a store that overwrites what it should not is found out', async (t) => {
  const { outcomes, left } = await probe(t, [], overwriting);
  assert.deepEqual(outcomes, but('conditional write', 'not supported'));
  assert.deepEqual(left, []);
});

test('a store that gives back something else is found out', async (t) => {
  const corrupting = (store: Store): Store => ({
    ...overwriting(store),
    conditionalWrites: async () => true,
    put: (key, body, options) =>
      store.put(key, 'bytes' in body ? { bytes: body.bytes.map((byte) => byte ^ 1) } : body, options),
  });
  const { steps, outcomes } = await probe(t, [], corrupting);
  assert.deepEqual(outcomes, but('read', 'failed'));
  assert.match(steps[3]?.error?.message ?? '', /does not give back what was written/);
});
