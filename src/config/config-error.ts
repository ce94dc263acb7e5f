import { RivuletError } from '../base/errors.ts';

/** A place in a configuration file; both count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong with a configuration file. */
export interface ConfigProblem extends Place {
  /** CONFIG_SYNTAX, CONFIG_UNKNOWN_KEY, CONFIG_VALUE, CONFIG_VARIABLE, NOT_BUILT, or the code of a wrong replica URL. */
  readonly code: string;
  readonly message: string;
  readonly next?: string | undefined;
}

/** How many problems are printed: the first ones are enough to begin with. */
const MAX_PRINTED = 12;

/** Everything that is wrong with a configuration file, each with its line and column. Its code is the first one's. */
export class ConfigError extends RivuletError {
  override readonly name = 'ConfigError';
  readonly path: string;
  readonly problems: readonly ConfigProblem[];

  constructor(path: string, found: readonly ConfigProblem[]) {
    const problems = [...found].sort((a, b) => a.line - b.line || a.column - b.column);
    const lines = problems.slice(0, MAX_PRINTED).map((problem) => describe(path, problem, problems.length > 1));
    if (problems.length > MAX_PRINTED) lines.push(`and ${problems.length - MAX_PRINTED} more`);
    const only = problems.length === 1 ? problems[0]?.next : undefined;
    super({
      code: problems[0]?.code ?? 'CONFIG_SYNTAX',
      message: problems.length === 1 ? lines.join('') : [`${problems.length} problems:`, ...lines].join('\n  '),
      ...(only && { next: only }),
    });
    this.path = path;
    this.problems = problems;
  }
}

/** Among several problems each carries its own hint; a single one's is the error's. */
function describe(path: string, problem: ConfigProblem, withNext: boolean): string {
  const hint = withNext && problem.next ? ` (${problem.next})` : '';
  return `${path}:${problem.line}:${problem.column}: ${problem.message}${hint}`;
}
