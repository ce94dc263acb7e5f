/**
 * - `fetch`: reading stored files and placing their pages; bytes of the database, or of the files where all of them are read.
 * - `verify`: reading the finished database back.
 * - `check`: SQLite's integrity check, which does not say how far it is.
 */
export type RestorePhase = 'fetch' | 'verify' | 'check';

export interface RestoreProgress {
  readonly phase: RestorePhase;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Tells how far a restore is. */
export class Progress {
  readonly #report: (progress: RestoreProgress) => void;

  constructor(report: (progress: RestoreProgress) => void = () => undefined) {
    this.#report = report;
  }

  /** Begins a phase; call what it returns with the bytes of each step. */
  start(phase: RestorePhase, totalBytes: number): (bytes: number) => void {
    let doneBytes = 0;
    const report = this.#report;
    report({ phase, doneBytes, totalBytes });
    return (bytes) => {
      doneBytes += bytes;
      report({ phase, doneBytes, totalBytes });
    };
  }
}
