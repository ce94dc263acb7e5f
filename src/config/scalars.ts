import { z } from 'zod';
import { RivuletError } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { parseFlag } from './flag.ts';
import { parseSize } from './size.ts';

/*
 * The kinds of value that a configuration has. Values come as YAML has them, or as text where a variable was replaced;
 * they leave as what the program works with (ms, bytes). What each says to an editor is in its `meta`.
 */

export type Scalar<T> = z.ZodType<T, unknown>;

/** Code and hint of an issue that does not have those of a wrong value. */
export type IssueParams = { readonly code?: string; readonly next?: string | undefined };

/** A pattern for editors: what `pattern` allows, or anything with a reference to a variable. */
const orVariable = (pattern: string): string => `^(${pattern})$|\\$`;

export function scalar<T>(read: (value: string) => T | undefined, reason: string): Scalar<T> {
  return z.unknown().transform((value, context) => {
    const text = textOf(value);
    const result = text === undefined ? undefined : read(text);
    if (result !== undefined) return result;
    const got = text === undefined ? '' : ` (got ${text === '' ? '""' : text})`;
    context.addIssue({ code: 'custom', message: reason + got });
    return z.NEVER;
  });
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'object' || value === undefined ? undefined : String(value);
}

/** Keeps the code and the hint of an error that a reader of another kind of value throws. */
export function checked<T>(read: (text: string) => T): Scalar<T> {
  return scalar((value) => value, 'must be text')
    .transform((text, context) => {
      try {
        return read(text);
      } catch (error) {
        if (!(error instanceof RivuletError)) throw error;
        const params: IssueParams = { code: error.code, next: error.next };
        context.addIssue({ code: 'custom', message: error.message, params });
        return z.NEVER;
      }
    })
    .meta({ type: 'string' });
}

export const text = (): Scalar<string> => scalar((value) => value, 'must be text').meta({ type: ['string', 'number'] });

/** Text that no error repeats. */
export const secret = (): Scalar<Secret> =>
  scalar((value) => new Secret(value), 'must be text').meta({ type: ['string', 'number'] });

/** One text, or a list of them. */
export const texts = (): Scalar<readonly string[]> =>
  z
    .unknown()
    .transform((value, context) => {
      const items = (Array.isArray(value) ? value : [value]).map(textOf);
      const found = items.flatMap((item) => (item ? [item] : []));
      if (found.length === items.length) return found;
      context.addIssue({ code: 'custom', message: 'must be text, or a list of texts' });
      return z.NEVER;
    })
    .meta({ anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] });

export const flag = (): Scalar<boolean> =>
  scalar(parseFlag, 'must be true or false').meta({
    anyOf: [{ type: 'boolean' }, { type: 'string', pattern: orVariable('[Tt]rue|[Ff]alse|[Yy]es|[Nn]o|[Oo]n|[Oo]ff') }],
  });

/** One of some words, in any case. */
export function choice<T extends string>(words: readonly T[], read: (name: string) => T | undefined): Scalar<T> {
  return scalar((value) => read(value), `must be one of ${words.join(', ')}`).meta({
    anyOf: [{ enum: [...words] }, { type: 'string', pattern: orVariable(words.join('|').toUpperCase()) }],
  });
}

export function integer(least: number, reason: string, most = Number.MAX_SAFE_INTEGER): Scalar<number> {
  return scalar(
    (value) => (/^[+-]?\d+$/.test(value) && Number.isSafeInteger(Number(value)) ? Number(value) : undefined),
    'must be a whole number',
  )
    .refine((value) => value >= least, { error: (issue) => `${reason} (got ${String(issue.input)})` })
    .refine((value) => value <= most, { error: (issue) => `must be at most ${most} (got ${String(issue.input)})` })
    .meta({
      type: ['integer', 'string'],
      pattern: orVariable('[+-]?[0-9]+'),
      ...(least > Number.MIN_SAFE_INTEGER && { minimum: least }),
      ...(most < Number.MAX_SAFE_INTEGER && { maximum: most }),
    });
}

const SIZE_PATTERN = '[0-9,]*\\.?[0-9]*\\s*([kKmMgGtTpP][iI]?)?[bB]?';

export function size(least: number, reason: string, most = Number.MAX_SAFE_INTEGER): Scalar<number> {
  return scalar(parseSize, 'must be a size such as 64MiB or 1GB')
    .refine((bytes) => bytes >= least, { error: (issue) => `${reason} (got ${String(issue.input)})` })
    .refine((bytes) => bytes <= most, { error: (issue) => `must be at most ${most} (got ${String(issue.input)})` })
    .meta({ type: ['number', 'string'], pattern: orVariable(SIZE_PATTERN) });
}

/** Bytes a second, written as a size; 0: no limit. */
export const rate = (): Scalar<number> =>
  scalar((value) => parseSize(value.replace(/\/s$/, '')), 'must be a size a second such as 10MiB')
    .transform((bytes) => bytes || Number.POSITIVE_INFINITY)
    .meta({ type: ['number', 'string'], pattern: orVariable(`${SIZE_PATTERN}(/s)?`) });

const DURATION = 'must be a duration with units, such as 500ms, 30s or 1m30s';
const DURATION_PATTERN = '[+-]?(0|([0-9]*\\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)';
/** What Node's timers and SQLite's busy timeout hold: a signed 32-bit count of ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A duration, ms. `reason` is what Litestream says of one that is too short. */
function duration(limit: 'above zero' | 'from zero', reason: string, mostMs = MAX_TIMER_MS): Scalar<number> {
  return scalar(parseDuration, DURATION)
    .superRefine((ms, context) => {
      if (ms < 0 || (ms === 0 && limit === 'above zero')) {
        context.addIssue({ code: 'custom', message: `${reason} (got ${formatDuration(ms)})` });
      } else if (ms > mostMs) {
        const most = formatDuration(mostMs);
        context.addIssue({ code: 'custom', message: `must be at most ${most} (got ${formatDuration(ms)})` });
      }
    })
    .meta({ type: ['string', 'number'], pattern: orVariable(DURATION_PATTERN) });
}

export const positive = (name: string): Scalar<number> => duration('above zero', `${name} must be greater than 0`);
export const notNegative = (name: string): Scalar<number> => duration('from zero', `${name} must not be negative`);

/** Spans that no timer waits for: a retention can be years. */
export const positiveSpan = (name: string): Scalar<number> =>
  duration('above zero', `${name} must be greater than 0`, Number.POSITIVE_INFINITY);
export const notNegativeSpan = (name: string): Scalar<number> =>
  duration('from zero', `${name} must not be negative`, Number.POSITIVE_INFINITY);
