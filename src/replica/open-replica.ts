import { notBuilt } from '../config/not-built.ts';
import type { ReplicaLocation } from '../config/replica-url.ts';
import type { Store } from '../store/store.ts';
import { Replica } from './replica.ts';

export interface OpenedReplica {
  readonly store: Store;
  readonly replica: Replica;
}

/** Opens the replica at `location`: the one place that knows which store belongs to which kind of URL. */
export async function openReplica(location: ReplicaLocation): Promise<OpenedReplica> {
  switch (location.type) {
    case 'file': {
      const { FileStore } = await import('../store/file/file-store.ts');
      const store = new FileStore({ root: location.path });
      return { store, replica: new Replica(store) };
    }
    case 's3':
      throw notBuilt('the replica type `s3`');
  }
}
