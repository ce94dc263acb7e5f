import { RivuletError } from '../base/errors.ts';
import type { DatabaseConfig } from '../config/config.ts';
import { openReplica } from '../replica/open-replica.ts';
import { type ProbeStep, probeStore } from '../replica/probe-store.ts';

/** What came of trying a database's replica. */
export interface ReplicaCheck {
  readonly database: DatabaseConfig;
  readonly steps: readonly ProbeStep[];
  /** Why it could not be tried at all. */
  readonly error?: RivuletError;
}

/** Tries the store of a database's replica. The database is not opened. */
export async function checkReplica(database: DatabaseConfig): Promise<ReplicaCheck> {
  try {
    const { store } = await openReplica(database.replica, { limits: database.replica.limits });
    try {
      return { database, steps: await probeStore(store) };
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!(error instanceof RivuletError)) throw error;
    return { database, steps: [], error };
  }
}
