import { RivuletError } from '../base/errors.ts';
import { nearest } from '../config/nearest.ts';
import { notBuilt } from '../config/not-built.ts';

interface FlagBase {
  /** For the help, one sentence; lines are wrapped there. */
  readonly help: string;
  /** Known from Litestream, and refused by name. */
  readonly unbuilt?: true;
}

/** `-name` or `-name=false`. */
export interface SwitchFlag extends FlagBase {
  readonly kind: 'switch';
}

/** `-name VALUE` or `-name=VALUE`. */
export interface ValueFlag extends FlagBase {
  readonly kind: 'value';
  /** What stands for the value in the help: `PATH`. */
  readonly value: string;
}

export type FlagSpec = SwitchFlag | ValueFlag;
export type FlagSpecs = Readonly<Record<string, FlagSpec>>;

/** What was given: switches are false and values undefined where they were not. */
export type Flags<S extends FlagSpecs> = {
  readonly [Name in keyof S]: S[Name] extends SwitchFlag ? boolean : string | undefined;
};

export interface ParsedArgs<S extends FlagSpecs> {
  readonly flags: Flags<S>;
  readonly positionals: readonly string[];
}

/** The error for a command line that cannot be understood. */
export function usageError(message: string, next?: string): RivuletError {
  return new RivuletError({ code: 'USAGE', message, ...(next && { next }) });
}

const HELP = new Set(['h', 'help']);

/**
 * Reads a command's arguments: flags as `-name` or `--name`, before, between or after the positionals, until `--`. The
 * last of several wins. Returns 'help' when help is asked for. Throws USAGE and NOT_BUILT.
 */
export function parseArgs<S extends FlagSpecs>(
  command: string,
  specs: S,
  argv: readonly string[],
): ParsedArgs<S> | 'help' {
  const values: Record<string, string | boolean | undefined> = {};
  for (const [name, spec] of Object.entries(specs)) values[name] = spec.kind === 'switch' ? false : undefined;
  const positionals: string[] = [];
  const errors: RivuletError[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    if (argument === '--') {
      positionals.push(...argv.slice(i + 1));
      break;
    }
    const flag = splitFlag(argument);
    if (!flag) {
      positionals.push(argument);
      continue;
    }
    if (HELP.has(flag.name) && !Object.hasOwn(specs, flag.name)) return 'help';
    const spec = Object.hasOwn(specs, flag.name) ? specs[flag.name] : undefined;
    const following = argv[i + 1];
    const takesNext = spec?.kind === 'value' && flag.value === undefined && canBeValue(following, specs);
    if (takesNext) i++;
    try {
      values[flag.name] = readFlag(command, specs, flag.name, takesNext ? following : flag.value);
    } catch (error) {
      // Help may still come: then it is what was wanted.
      if (!(error instanceof RivuletError)) throw error;
      errors.push(error);
    }
  }
  if (errors[0]) throw errors[0];
  return { flags: values as Flags<S>, positionals }; // readFlag gives each flag a value of its kind
}

interface GivenFlag {
  readonly name: string;
  readonly value: string | undefined;
}

/** `-name`, `--name`, `-name=value`; undefined for what is no flag: anything without a dash, and `-` alone. */
function splitFlag(argument: string): GivenFlag | undefined {
  const match = /^--?([^=]*)(?:=(.*))?$/s.exec(argument);
  if (!match || argument === '-') return undefined;
  return { name: match[1] ?? '', value: match[2] };
}

/** A value may start with a dash, unless it is a flag that we know. */
function canBeValue(argument: string | undefined, specs: FlagSpecs): argument is string {
  if (argument === undefined || argument === '--') return false;
  const flag = splitFlag(argument);
  return !flag || !(Object.hasOwn(specs, flag.name) || HELP.has(flag.name));
}

function readFlag(command: string, specs: FlagSpecs, name: string, value: string | undefined): string | boolean {
  const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
  if (!spec) throw unknownFlag(command, specs, name);
  if (spec.unbuilt) throw notBuilt(`the flag -${name}`, helpHint(command));
  if (spec.kind === 'switch') return value === undefined ? true : readBoolean(command, name, value);
  if (value === undefined) throw usageError(`flag needs an argument: -${name} ${spec.value}`, helpHint(command));
  return value;
}

function unknownFlag(command: string, specs: FlagSpecs, name: string): RivuletError {
  const near = nearest(name, Object.keys(specs));
  const question = near ? `did you mean -${near}? ` : '';
  return usageError(`flag provided but not defined: -${name}`, `${question}${helpHint(command)}`);
}

function helpHint(command: string): string {
  return `\`rivulet help ${command}\` lists the flags`;
}

function readBoolean(command: string, name: string, value: string): boolean {
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw usageError(`invalid boolean value "${value}" for -${name}`, helpHint(command));
}
