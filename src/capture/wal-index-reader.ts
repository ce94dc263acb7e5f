import { readFully } from '../base/durable-file.ts';
import { RivuletError } from '../base/errors.ts';
import {
  readWalIndexHead,
  UnprovenHead,
  WAL_INDEX_HEAD_SIZE,
  type WalIndexGlance,
  type WalIndexHead,
} from '../sqlite/wal-index.ts';
import type { DatabaseHandles } from './connections.ts';

/** Reads of a head that is just being written: a writer is done with it within microseconds. */
const TRIES = 1000;
/** Times that SQLite is asked to rebuild a head that a killed writer left torn. */
const REPAIRS = 3;

/** Reads the WAL-index through the capture's one descriptor. */
export class WalIndexReader {
  readonly #handles: DatabaseHandles;
  readonly #bytes = Buffer.alloc(WAL_INDEX_HEAD_SIZE);
  readonly #unproven = new UnprovenHead();

  constructor(handles: DatabaseHandles) {
    this.#handles = handles;
  }

  read(): WalIndexHead {
    for (let repair = 0; repair <= REPAIRS; repair++) {
      for (let attempt = 0; attempt < TRIES; attempt++) {
        readFully(this.#handles.walIndexFd, this.#bytes, 0);
        const head = readWalIndexHead(this.#bytes);
        if (head) return head;
      }
      this.#letSqliteRepair();
    }
    throw new RivuletError({
      code: 'WAL_INDEX_TORN',
      message: 'the WAL-index (-shm) stays torn; SQLite does not mend it',
    });
  }

  /** Valid until the next one. */
  glance(): WalIndexGlance {
    readFully(this.#handles.walIndexFd, this.#unproven.bytes, 0);
    return this.#unproven;
  }

  /** A writer that died between the two copies leaves them different: any new reader makes SQLite recover the index. */
  #letSqliteRepair(): void {
    const { checkpointer } = this.#handles;
    checkpointer.beginRead();
    checkpointer.end();
  }
}
