import type { Measured } from './measure.ts';

/** The same work, measured several times. */
export interface Figures {
  readonly runs: number;
  readonly medianSeconds: number;
  readonly minSeconds: number;
  /** Of the run in the middle, by CPU time. */
  readonly cpuSeconds: number;
  /** Of the run that took most. */
  readonly peakMib: number | undefined;
}

export function figuresOf(runs: readonly Measured[]): Figures {
  const peaks = runs.flatMap(({ peakMib }) => (peakMib === undefined ? [] : [peakMib]));
  return {
    runs: runs.length,
    medianSeconds: median(runs.map(({ seconds }) => seconds)),
    minSeconds: Math.min(...runs.map(({ seconds }) => seconds)),
    cpuSeconds: median(runs.map(({ cpuSeconds }) => cpuSeconds)),
    peakMib: peaks.length > 0 ? Math.max(...peaks) : undefined,
  };
}

export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}
