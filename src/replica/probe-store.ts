import { randomBytes } from 'node:crypto';
import { RivuletError } from '../base/errors.ts';
import { readObject, type Store, StoreError } from '../store/store.ts';

/** One thing that a replica needs of its store, and whether the store does it. */
export interface ProbeStep {
  readonly name: 'list' | 'write' | 'conditional write' | 'read' | 'delete';
  readonly outcome: 'ok' | 'failed' | 'not supported' | 'skipped';
  readonly error?: RivuletError;
  /** What is to be added to the policy of the bucket. */
  readonly missing?: string;
}

/**
 * Tries whether a store does all that a replica needs, with one small object under a name of its own, which is removed
 * again. Nothing else is written. Failures are in the result; throws only what is none of the store's.
 */
export async function probeStore(store: Store): Promise<readonly ProbeStep[]> {
  const key = `rivulet.probe-${randomBytes(8).toString('hex')}`;
  const bytes = randomBytes(32);
  const list = await step('list', async () => {
    for await (const _ of store.list('')) break;
  });
  const write = await step('write', async () => void (await store.put(key, { bytes })));
  if (write.outcome !== 'ok') {
    // Perhaps only the answer was lost.
    await store.delete([key]).catch(() => []);
    return [list, write, skipped('conditional write'), skipped('read'), skipped('delete')];
  }
  const conditional = await tryConditional(store);
  const read = await step('read', async () => {
    const found = await readObject(store, key, bytes.length);
    if (bytes.equals(found)) return;
    throw new StoreError('permanent', { message: `${store.url} does not give back what was written to ${key}` });
  });
  const remove = await step('delete', async () => {
    const [result] = await store.delete([key]);
    if (result?.error) throw result.error;
  });
  return [list, write, conditional, read, remove];
}

/** A store that does not decide creates cannot tell two writers apart. */
async function tryConditional(store: Store): Promise<ProbeStep> {
  const name = 'conditional write';
  try {
    return { name, outcome: (await store.conditionalWrites()) ? 'ok' : 'not supported' };
  } catch (error) {
    return failed(name, error);
  }
}

async function step(name: ProbeStep['name'], run: () => Promise<void>): Promise<ProbeStep> {
  try {
    await run();
    return { name, outcome: 'ok' };
  } catch (error) {
    return failed(name, error);
  }
}

function failed(name: ProbeStep['name'], error: unknown): ProbeStep {
  if (!(error instanceof RivuletError)) throw error;
  const missing = error instanceof StoreError ? error.permission : undefined;
  return { name, outcome: 'failed', error, ...(missing !== undefined && { missing }) };
}

function skipped(name: ProbeStep['name']): ProbeStep {
  return { name, outcome: 'skipped' };
}
