import type { CommitLog } from './application.ts';
import type { StoredFile } from './stored-commits.ts';

/** How times are spread, ms. */
export interface Distribution {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly mostMs: number;
}

/** What is known of a running stream: commits on one side, files in the replica on the other, and the time between. */
export class Stream {
  readonly #application: CommitLog;
  readonly #lagsMs: number[] = [];
  #stored = 0;
  #txid = 0n;
  #files = 0;
  #bytes = 0;

  constructor(application: CommitLog) {
    this.#application = application;
  }

  /** Commits that were acknowledged to the application. */
  get commits(): number {
    return this.#application.commits;
  }

  /** The last commit that is in the replica. */
  get stored(): number {
    return this.#stored;
  }

  get txid(): bigint {
    return this.#txid;
  }

  get files(): number {
    return this.#files;
  }

  get sizeBytes(): number {
    return this.#bytes;
  }

  /** A file appeared in the replica: every commit up to its last one is stored now. */
  add(file: StoredFile): void {
    const isFirst = this.#files === 0;
    this.#files++;
    this.#bytes += file.sizeBytes;
    this.#txid = file.txid;
    const last = file.commits ?? this.#stored;
    // The first file is the whole database, with commits from before anybody looked at it.
    for (let commit = this.#stored + 1; commit <= last && !isFirst; commit++) {
      const madeMs = this.#application.committedAtMs(commit);
      if (madeMs !== undefined) this.#lagsMs.push(Math.max(0, file.atMs - madeMs));
    }
    this.#stored = Math.max(this.#stored, last);
  }

  /** How old the oldest commit is that is not stored yet, ms. */
  lagMs(nowMs: number): number {
    const madeMs = this.#application.committedAtMs(this.#stored + 1);
    return madeMs === undefined ? 0 : Math.max(0, nowMs - madeMs);
  }

  /** From each commit to the moment its file was there; undefined before the first. */
  get lags(): Distribution | undefined {
    return distribution(this.#lagsMs);
  }
}

/** How values are spread; undefined where there are none. */
export function distribution(values: readonly number[]): Distribution | undefined {
  const sorted = Float64Array.from(values).sort();
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
  return sorted.length === 0 ? undefined : { medianMs: at(0.5), p99Ms: at(0.99), mostMs: at(1) };
}
