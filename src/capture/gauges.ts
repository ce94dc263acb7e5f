/** What is measured of a capture, each a number. Bytes, frames, ms and counts since the capture was opened. */
const FIELDS = [
  /** Bytes of the WAL file, and the most it had. */
  'walFileBytes',
  'walFileMostBytes',
  /** Committed frames in the WAL that are not in the database file yet. */
  'walFramesWaiting',
  /** Bytes of the WAL that were captured. */
  'walCapturedBytes',
  'databaseBytes',
  /** Handovers of the WAL, by how they ended. */
  'handoversDone',
  'handoversBlocked',
  'handoversBusy',
  /** Times that all pages were read: first images and comparisons. */
  'comparisons',
  /** Bytes by which the WAL grew during the longest of them. */
  'comparisonWalMostBytes',
  /** Times that writers were held up, for how long in all, and for how long at most. */
  'barriers',
  'barrierSumMs',
  'barrierMostMs',
] as const;

export type GaugeName = (typeof FIELDS)[number];

/** Upper ends of the classes in which barriers are counted, ms. */
export const BARRIER_CLASSES_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000] as const;

const INDEX = Object.fromEntries(FIELDS.map((name, index) => [name, index])) as Record<GaugeName, number>; // all of them

/** The figures of one capture, in memory that is read by another thread without asking the one that writes. */
export class CaptureGauges {
  readonly memory: SharedArrayBuffer;
  readonly #values: Float64Array;

  /** `memory`: of another one, to read what that writes. */
  constructor(memory = new SharedArrayBuffer(8 * (FIELDS.length + BARRIER_CLASSES_MS.length))) {
    this.memory = memory;
    this.#values = new Float64Array(memory);
  }

  get(name: GaugeName): number {
    return this.#values[INDEX[name]] ?? 0;
  }

  set(name: GaugeName, value: number): void {
    this.#values[INDEX[name]] = value;
  }

  add(name: GaugeName, value = 1): void {
    this.set(name, this.get(name) + value);
  }

  raise(name: GaugeName, value: number): void {
    if (value > this.get(name)) this.set(name, value);
  }

  /** Writers were held up this long. */
  addBarrier(ms: number): void {
    this.add('barriers');
    this.add('barrierSumMs', ms);
    this.raise('barrierMostMs', ms);
    const place = BARRIER_CLASSES_MS.findIndex((upTo) => ms <= upTo);
    if (place >= 0) this.#values[FIELDS.length + place] = this.barrierClass(place) + 1;
  }

  /** Barriers in a class. */
  barrierClass(place: number): number {
    return this.#values[FIELDS.length + place] ?? 0;
  }
}
