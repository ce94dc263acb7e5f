/** Gaps between two commits, as they were before, after which writers stand still. */
const GAPS = 2;
/** However fast, and however slowly, commits came before. */
const STILL_MS = { least: 10, most: 100 } as const;
/** The same for a pause after which nobody is expected to commit soon. */
const QUIET_MS = { least: 400, most: 1000 } as const;

/** How fast commits come, as the WAL-index counts them, and whether they stopped. */
export class CommitPace {
  #commits: number | undefined;
  #notedMs = 0;
  /** When some were found. */
  #foundMs = 0;
  #gapMs = Number.POSITIVE_INFINITY;
  /** So many came in since the last note that writers cannot have stood still until now. */
  #isSteady = false;

  /** `commits`: since anybody counts; the count may begin anew at any time. */
  note(commits: number): void {
    const nowMs = performance.now();
    const came = this.#commits === undefined ? 0 : (commits - this.#commits) >>> 0;
    this.#isSteady = came > 0 && came * this.#gapMs >= nowMs - this.#notedMs - this.stillMs;
    if (came > 0) this.#gapMs = Math.min((nowMs - this.#foundMs) / came, 2 * this.#gapMs); // a pause is no new pace
    if (came > 0 || this.#commits === undefined) this.#foundMs = nowMs;
    this.#commits = commits;
    this.#notedMs = nowMs;
  }

  /** Without commits for this long, writers stand still. */
  get stillMs(): number {
    return this.#gaps(STILL_MS);
  }

  /** Without commits for this long, it is quiet. */
  get quietMs(): number {
    return Number.isFinite(this.#gapMs) ? this.#gaps(QUIET_MS) : QUIET_MS.least;
  }

  #gaps({ least, most }: { readonly least: number; readonly most: number }): number {
    return Math.min(Math.max(GAPS * this.#gapMs, least), most);
  }

  /** As of the last {@link note}. `unwrittenMs` tells for how long the WAL was not written to. */
  isStill(unwrittenMs: () => number): boolean {
    return this.#notedMs - this.#foundMs >= this.stillMs || (!this.#isSteady && unwrittenMs() >= this.stillMs);
  }
}
