import { basename } from 'node:path';
import type { Logger } from '../base/log.ts';
import type { ReplicationEvents } from '../daemon/database-replication.ts';
import { formatElapsed, formatSize } from './format.ts';
import { usesColour } from './terminal.ts';

export interface ProgressTarget {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface ProgressOptions {
  /** What is being done, as a short word: `restore`. */
  readonly label: string;
  /** Write nothing at all. */
  readonly quiet?: boolean;
  /** Default: stderr. */
  readonly target?: ProgressTarget;
  /** Ms since some start; default: the clock. */
  readonly now?: () => number;
}

export interface ProgressState {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** The step of the work that this is of. */
  readonly phase: string;
}

/** Work that ends sooner than this shows no bar: it would only flicker. */
const FIRST_BAR_MS = 250;
const BAR_INTERVAL_MS = 80;
const LINE_INTERVAL_MS = 5000;
const BAR_WIDTH = 24;
const ERASE_LINE = '\r\x1b[2K';

/** Shows how far long work is: a bar on a terminal, a plain line every few seconds elsewhere. */
export class Progress {
  readonly #label: string;
  readonly #target: ProgressTarget;
  readonly #now: () => number;
  readonly #quiet: boolean;
  readonly #startMs: number;
  #nextMs: number;
  #barShown = false;

  constructor(options: ProgressOptions) {
    this.#label = options.label;
    this.#target = options.target ?? process.stderr;
    this.#now = options.now ?? (() => performance.now());
    this.#quiet = options.quiet ?? false;
    this.#startMs = this.#now();
    this.#nextMs = this.#startMs + (this.#target.isTTY ? FIRST_BAR_MS : LINE_INTERVAL_MS);
  }

  update(state: ProgressState): void {
    const nowMs = this.#now();
    if (this.#quiet || nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + (this.#target.isTTY ? BAR_INTERVAL_MS : LINE_INTERVAL_MS);
    if (this.#target.isTTY) {
      this.#barShown = true;
      this.#target.write(ERASE_LINE + this.#bar(state));
    } else {
      const elapsed = formatElapsed(nowMs - this.#startMs);
      this.#target.write(`${this.#label}: ${state.phase} ${percent(state)}% ${amounts(state)}, ${elapsed}\n`);
    }
  }

  /** Takes the bar away, so that something else can be printed; the next update brings it back. */
  clear(): void {
    if (this.#barShown) this.#target.write(ERASE_LINE);
    this.#barShown = false;
  }

  /** Takes the bar away for good. Call it on every path. */
  done(): void {
    this.clear();
    this.#nextMs = Number.POSITIVE_INFINITY;
  }

  #bar(state: ProgressState): string {
    const filled = Math.round((BAR_WIDTH * percent(state)) / 100);
    const [full, rest] = ['█'.repeat(filled), '░'.repeat(BAR_WIDTH - filled)];
    const bar = usesColour(this.#target) ? `\x1b[36m${full}\x1b[90m${rest}\x1b[0m` : full + rest;
    const before = `${this.#label} `;
    const after = ` ${String(percent(state)).padStart(3)}% ${state.phase} ${amounts(state)}`;
    // A line that is longer than the terminal wraps, and a wrapped line cannot be erased.
    const room = (this.#target.columns || 80) - 1;
    return before.length + BAR_WIDTH + after.length <= room
      ? before + bar + after
      : `${before}${after.trim()}`.slice(0, room);
  }
}

/** Log lines and the bar share a terminal: the bar makes room first, and comes back with the next update. */
export function aroundProgress(logger: Logger, progress: Progress): Logger {
  return {
    log(level, message, fields) {
      progress.clear();
      logger.log(level, message, fields);
    },
    with: (fields) => aroundProgress(logger.with(fields), progress),
  };
}

/** What a replication says of long work, as a bar: of one database at a time, the one that was heard of last. */
export function replicationBar(progress: Progress): (path: string) => ReplicationEvents {
  return (path) => ({
    progress: (phase, doneBytes, totalBytes) => {
      if (doneBytes >= totalBytes) progress.clear();
      else progress.update({ phase: `${phase} ${basename(path)}`, doneBytes, totalBytes });
    },
  });
}

function percent({ doneBytes, totalBytes }: ProgressState): number {
  return totalBytes > 0 ? Math.min(100, Math.floor((100 * doneBytes) / totalBytes)) : 100;
}

function amounts({ doneBytes, totalBytes }: ProgressState): string {
  return `${formatSize(doneBytes)} of ${formatSize(totalBytes)}`;
}
