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

/**
 * Lets each contender do its work `runs` times, one after the other, so that whatever else the machine does falls on all of
 * them. What was written before is on disk when a run begins.
 */
export async function contest(contenders: readonly Contender[], runs: number): Promise<Map<string, Figures>> {
  const measured = new Map<string, Measured[]>(contenders.map(({ name }) => [name, []]));
  for (let run = 1; run <= runs; run++) {
    for (const contender of contenders) {
      contender.prepare();
      spawnSync('sync');
      const result = await measure(contender.command, contender.env);
      measured.get(contender.name)?.push(contender.isScript ? { ...result, peakMib: undefined } : result);
      contender.check?.();
    }
  }
  return new Map([...measured].map(([name, all]) => [name, figuresOf(all)]));
}
