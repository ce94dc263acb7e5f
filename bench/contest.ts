import { spawnSync } from 'node:child_process';
import { type Figures, figuresOf } from './figures.ts';
import { type Measured, measure } from './measure.ts';

/** One way to do a piece of work. */
export interface Contender {
  readonly name: string;
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** True when the work is done by children of the command, whose memory is not seen. */
  readonly isScript?: boolean;
  /** Before each run, untimed: makes everything as it was. */
  prepare(): void;
  /** After each run, untimed: throws when the work was not done. */
  check?(): void;
}

export interface Rounds {
  /** Before those that count: a virtual machine pays for the first use of its memory, whoever comes first. */
  readonly warmUps: number;
  readonly runs: number;
}

/**
 * Lets each contender do its work `runs` times, one after the other, so that whatever else the machine does falls on all of
 * them. What was written before is on disk when a run begins.
 */
export async function contest(
  contenders: readonly Contender[],
  { warmUps, runs }: Rounds,
): Promise<Map<string, Figures>> {
  const measured = new Map<string, Measured[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 1; round <= warmUps + runs; round++) {
    for (const contender of contenders) {
      contender.prepare();
      spawnSync('sync');
      const result = await measure(contender.command, contender.env);
      contender.check?.();
      if (round <= warmUps) continue;
      measured.get(contender.name)?.push(contender.isScript ? { ...result, peakMib: undefined } : result);
    }
  }
  return new Map([...measured].map(([name, all]) => [name, figuresOf(all)]));
}
