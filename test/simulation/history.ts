import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { frameOffset, frameSize, saltsEqual, WAL_FRAME_HEADER_SIZE } from '../../src/sqlite/wal.ts';
import { readWalIndexHead, WAL_INDEX_HEAD_SIZE, type WalIndexHead } from '../../src/sqlite/wal-index.ts';
import { between, type Random } from '../support/writers.ts';

/** The files at some moment, and what a reader saw in them. */
export interface State {
  readonly database: Buffer;
  readonly wal: Buffer | undefined;
  readonly head: WalIndexHead | undefined;
  readonly image: Buffer;
}

/** Commits that a power loss may take, at most. */
const MOST_LOST = 12;

/** Reads the files of a database whose WAL, if it has one, was recovered by a connection that is open. */
export function stateOf(path: string): State {
  const database = fs.readFileSync(path);
  const wal = fs.existsSync(`${path}-wal`) ? fs.readFileSync(`${path}-wal`) : undefined;
  const head = wal && readWalIndexHead(fs.readFileSync(`${path}-shm`).subarray(0, WAL_INDEX_HEAD_SIZE));
  if (!wal || !head || head.mxFrame === 0) return { database, wal, head, image: database };
  const pageSize = wal.readUInt32BE(8);
  const image = Buffer.alloc(head.pageCount * pageSize);
  database.copy(image, 0, 0, Math.min(database.length, image.length));
  for (let frame = 0; frame < head.mxFrame; frame++) {
    const at = frameOffset(frame, pageSize);
    const pgno = wal.readUInt32BE(at);
    if (pgno > head.pageCount) continue;
    wal.copy(image, (pgno - 1) * pageSize, at + WAL_FRAME_HEADER_SIZE, at + frameSize(pageSize));
  }
  return { database, wal, head, image };
}

/** Every state that a database was in at the end of a commit, and which of them a power loss can lead back to. */
export class History {
  /** Content of the database after each commit, by hash. */
  readonly #commits = new Set<string>();
  /** What the files were after each commit that may not be durable yet; the first one is. */
  #past: State[] = [];
  #backfilled = '';

  /** `mayLose`: how many commits before this one a power loss takes together with it. */
  note(now: State, mayLose: number): void {
    this.#commits.add(hashOf(now.image));
    this.#past = [...this.#past, now].slice(-1 - Math.min(mayLose, MOST_LOST));
  }

  /** Somebody made a checkpoint that syncs: durable is what was there, if there was something for it to do. */
  noteCheckpoint(now: State): void {
    const { head } = now;
    const backfilled = `${Buffer.from(head?.salts ?? []).toString('hex')} ${head?.backfilled}`;
    if (backfilled === this.#backfilled && head && head.backfilled < head.mxFrame) return;
    this.#backfilled = backfilled;
    this.#past = [now];
  }

  wasEver(image: Uint8Array): boolean {
    return this.#commits.has(hashOf(image));
  }

  /** What a power loss leaves of the database and its WAL. */
  afterPowerLoss(random: Random): Pick<State, 'database' | 'wal'> | undefined {
    const left = this.#past[between(random, 0, this.#past.length - 1)];
    if (!left?.wal) return left;
    return { database: left.database, wal: random() < 0.5 ? this.#withHole(left) : withTornEnd(left.wal, random) };
  }

  /** The same where nothing is ever synced: a few of the pages that were written since `left` was durable are not there. */
  withoutSomePages(database: Buffer, random: Random): Buffer | undefined {
    const durable = this.#past[0]?.database;
    if (!durable) return undefined;
    const pageSize = database.readUInt16BE(16);
    const written: number[] = [];
    for (let at = pageSize; at < Math.min(database.length, durable.length); at += pageSize) {
      if (database.compare(durable, at, at + pageSize, at, at + pageSize) !== 0) written.push(at);
    }
    if (written.length === 0) return undefined;
    const bytes = Buffer.from(database);
    for (let i = between(random, 1, 3); i > 0; i--) {
      const at = written[between(random, 0, written.length - 1)] ?? 0;
      durable.copy(bytes, at, at, at + pageSize);
    }
    return bytes;
  }

  /** Of what was written after the last frame that counts, all is there but the first sector: it ends the chain, and stays where it is. */
  #withHole(left: State): Buffer | undefined {
    const newest = this.#past.at(-1);
    const { wal, head } = left;
    if (!wal || !head || !newest?.wal || !newest.head || !saltsEqual(newest.head.salts, head.salts)) return wal;
    if (newest.wal.length <= wal.length && newest.head.mxFrame <= head.mxFrame) return wal;
    const bytes = Buffer.from(newest.wal);
    const pageSize = bytes.readUInt32BE(8);
    bytes.fill(0, frameOffset(head.mxFrame, pageSize), frameOffset(head.mxFrame, pageSize) + pageSize);
    return bytes;
  }
}

/** The end of a WAL that was being written is anything. */
function withTornEnd(wal: Buffer, random: Random): Buffer {
  if (random() < 0.5) return wal;
  return Buffer.concat([wal, Buffer.alloc(between(random, 1, 3000), random() * 256)]);
}

function hashOf(image: Uint8Array): string {
  return createHash('sha1').update(image).digest('hex');
}
