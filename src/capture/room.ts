import { Backoff } from '../base/async.ts';
import { identify } from '../base/database-files.ts';
import { messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid, txid } from '../base/types.ts';
import { setSpoolAside } from '../replica/local-state.ts';
import type { DiskShare } from './disk-share.ts';
import type { L0Maker } from './l0-maker.ts';
import type { CaptureListener, CaptureSettings, GivenUp } from './options.ts';
import type { WalFollower } from './wal-follower.ts';
import type { WalKeeper } from './wal-keeper.ts';

/** Pauses between tries to make files again, after some were given up. */
const RETRY_MS = { first: 5000, most: 60_000 } as const;
/** Why capture is suspended where its files take too much of what the database needs. */
const NEARLY_FULL = 'the disk of the database is nearly full';

type Settings = Pick<CaptureSettings, 'path' | 'metaPath' | 'maxSpoolBytes'>;

/**
 * Keeps the files of one capture out of its database's way. Where they take too much room, capture is suspended: no files are made, and
 * checkpoints go on without it. Past that, files that are not stored are given up. It says when capture may go on.
 */
export class Room {
  readonly #settings: Settings;
  readonly #maker: L0Maker;
  readonly #share: DiskShare;
  readonly #keeper: WalKeeper;
  readonly #listener: Pick<CaptureListener, 'state' | 'gaveUp'>;
  readonly #log: Logger;
  readonly #retry = new Backoff(RETRY_MS.first, RETRY_MS.most);
  #suspended: string | undefined;
  #resumeAtMs = Number.NEGATIVE_INFINITY;
  #toGiveUp: GivenUp | undefined;

  constructor(
    settings: Settings,
    maker: L0Maker,
    share: DiskShare,
    keeper: WalKeeper,
    listener: Pick<CaptureListener, 'state' | 'gaveUp'>,
    log: Logger,
  ) {
    this.#settings = settings;
    this.#maker = maker;
    this.#share = share;
    this.#keeper = keeper;
    this.#listener = listener;
    this.#log = log;
  }

  /** Why capture is suspended; undefined while it is not. */
  get suspended(): string | undefined {
    return this.#suspended;
  }

  /** Suspends capture if its files take too much room. */
  check(follower: WalFollower): void {
    const { maxSpoolBytes } = this.#settings;
    if (this.#maker.unstoredBytes > maxSpoolBytes) {
      this.suspend(`more than ${maxSpoolBytes} bytes wait for the store`, follower);
    } else if (this.#share.isUsedUp()) this.suspend(NEARLY_FULL, follower);
    else this.#share.relieve(); // many can have a little each
  }

  /** Stops the making of files, for the database's sake: its WAL and its disk come first. `isFull`: a quota was met. */
  suspend(reason: string, follower: WalFollower | undefined, isFull = false): void {
    const { path, metaPath } = this.#settings;
    if (this.#suspended !== reason) {
      const next = `see that the store takes files, and that ${metaPath} has room (or put meta-path on another disk)`;
      this.#log.log('error', 'capture suspended', { reason, db: path, next });
    }
    this.#suspended = reason;
    follower?.letGo();
    this.#listener.state({ kind: 'suspended', reason });
    this.#makeRoom(follower, isFull);
  }

  /** Capture stays suspended for now. */
  stay(follower: WalFollower): void {
    // One that was attached meanwhile stands.
    if (follower.stands && this.#suspended !== undefined) this.suspend(this.#suspended, follower);
    else this.#makeRoom(follower);
  }

  /** Gives back our own room, and keeps the WAL from growing as far as that goes: a disk that is full for us can be full for it, too. */
  #makeRoom(follower: WalFollower | undefined, isFull = false): void {
    this.#maker.dropStored();
    this.#share.relieve(isFull);
    try {
      if (follower) this.#keeper.look(follower);
    } catch (error) {
      this.#log.log('warn', 'a checkpoint failed', { db: this.#settings.path, error: messageOf(error) });
    }
  }

  /** This is to be given up with the next {@link giveUpIfAsked}. */
  askToGiveUp(what: GivenUp): void {
    this.#toGiveUp = what;
  }

  /** `lost` hears of commits that are nowhere else: the database is gone. */
  giveUpIfAsked(follower: WalFollower | undefined, lost: (error: RivuletError) => void): void {
    const what = this.#toGiveUp;
    if (!what) return;
    const { path, metaPath } = this.#settings;
    // Where the database is gone since it was asked for, they are all there is of their commits.
    const folder = identify(path) ? undefined : setSpoolAside(metaPath, what.base);
    if (folder !== undefined) {
      lost(
        new RivuletError({
          code: 'NOT_STORED',
          message: `${path} was removed before all of its commits were stored`,
          kept: `files that hold them are in ${folder}`,
        }),
      );
    }
    const { files, bytes } = this.#maker.giveUp(what);
    this.#toGiveUp = undefined;
    this.#listener.gaveUp();
    if (files > 0) {
      this.#log.log('warn', 'gave up files that were not stored', {
        files,
        bytes,
        from: formatTxid(txid(what.from)),
        kept: folder ?? 'their commits are in the database; what differs is stored once there is room',
      });
    }
    if (!follower) return;
    this.suspend('files that were not stored were given up', follower);
    const isFound = what.base.txid >= what.from; // the store takes files, and so has the disk room
    this.#resumeAtMs = isFound ? Number.NEGATIVE_INFINITY : performance.now() + this.#retry.next();
  }

  /** It is not tried again before. */
  resumeIn(ms: number): void {
    this.#resumeAtMs = Math.max(this.#resumeAtMs, performance.now() + ms);
  }

  /** A file was stored. */
  noteStored(): void {
    this.#retry.reset();
  }

  /** Whether files may be made again. Where that `isWanted` now, it is not waited for. */
  mayResume(isWanted: boolean): boolean {
    if (this.#maker.unstoredBytes > this.#settings.maxSpoolBytes / 2 || !this.#share.mayResume) return false;
    return isWanted || performance.now() >= this.#resumeAtMs;
  }

  /** Capture stands again. */
  resumed(): void {
    this.#log.log('info', 'capture resumed', { reason: this.#suspended });
    this.#suspended = undefined;
    this.#listener.state({ kind: 'attached' });
  }
}
