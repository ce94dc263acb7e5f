import * as fs from 'node:fs';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { hasCode, messageOf, RivuletError } from '../base/errors.ts';
import type { Config } from './config.ts';
import { ConfigError, type ConfigProblem } from './config-error.ts';
import type { Variables } from './expand-variables.ts';
import { nearest } from './nearest.ts';
import { notBuilt } from './not-built.ts';
import { resolveConfig } from './resolve-config.ts';
import { fileSchema, sectionAt } from './schema.ts';
import { type Path, readYaml, type YamlTree } from './yaml-tree.ts';

/** Where a configuration is looked for when nobody says where it is, in this order. */
export const DEFAULT_CONFIG_PATHS: readonly string[] = [
  'rivulet.yml',
  'litestream.yml',
  '/etc/rivulet.yml',
  '/etc/litestream.yml',
];

export interface LoadOptions {
  /** The file, as given with `-config`. */
  readonly path?: string | undefined;
  /** Whether references to environment variables are replaced; default true. */
  readonly expandEnv?: boolean | undefined;
  /** Default: the process's own. */
  readonly env?: Variables | undefined;
  readonly defaultPaths?: readonly string[] | undefined;
}

/** Finds, reads and checks a configuration. Throws CONFIG_NOT_FOUND, CONFIG_UNREADABLE, or a {@link ConfigError}. */
export function loadConfig(options: LoadOptions = {}): Config {
  const { path, text } = readConfigFile(options);
  return parseConfig(text, path, options);
}

/** Checks the text of a configuration; `path` is its name in messages. */
export function parseConfig(text: string, path: string, options: LoadOptions = {}): Config {
  const tree = readYaml(text, options.expandEnv === false ? undefined : (options.env ?? process.env));
  if (tree.problems.length > 0) throw new ConfigError(path, tree.problems);
  const parsed = fileSchema.safeParse(tree.value ?? {});
  if (!parsed.success) throw new ConfigError(path, problemsOf(parsed.error, tree));
  return resolveConfig(parsed.data, path, tree);
}

function readConfigFile(options: LoadOptions): { readonly path: string; readonly text: string } {
  const env = options.env ?? process.env;
  // An empty variable counts as unset: that is how a shell script turns one off.
  const named = options.path || env.RIVULET_CONFIG || env.LITESTREAM_CONFIG;
  const candidates = (named ? [named] : (options.defaultPaths ?? DEFAULT_CONFIG_PATHS)).map((path) => resolve(path));
  for (const path of candidates) {
    try {
      return { path, text: fs.readFileSync(path, 'utf8') };
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw unreadable(path, error);
    }
  }
  throw new RivuletError({
    code: 'CONFIG_NOT_FOUND',
    message: `config file not found: ${candidates.join(', ')}`,
    next: named ? 'check the path' : 'write one of these files, or name another with -config PATH',
  });
}

function unreadable(path: string, cause: unknown): RivuletError {
  const why = hasCode(cause, 'EISDIR') ? 'it is a folder' : messageOf(cause);
  return new RivuletError({ code: 'CONFIG_UNREADABLE', message: `cannot read the config file ${path}: ${why}`, cause });
}

function problemsOf(error: z.ZodError, tree: YamlTree): ConfigProblem[] {
  return error.issues.flatMap((issue) => {
    // YAML keys are strings and its list positions are numbers; there are no symbols.
    const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key, tree));
    const code = issue.code === 'custom' ? issue.params?.code : undefined;
    const next = issue.code === 'custom' ? issue.params?.next : undefined;
    const name = fieldName(path);
    return {
      ...tree.placeOf(path),
      code: typeof code === 'string' ? code : 'CONFIG_VALUE',
      message: name === '' ? reasonOf(issue) : `${name}: ${reasonOf(issue)}`,
      next: typeof next === 'string' ? next : undefined,
    };
  });
}

function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_type') return issue.message;
  return issue.expected === 'array' ? 'must be a list' : 'must be a map of keys and values';
}

function unknownKey(path: Path, key: string, tree: YamlTree): ConfigProblem {
  const section = sectionAt(path);
  const place = tree.placeOfKey([...path, key]);
  const name = fieldName([...path, key]);
  if (section.unbuilt.includes(key)) {
    return { ...place, code: 'NOT_BUILT', message: `${name}: ${notBuilt(`\`${key}\``).message}` };
  }
  const near = nearest(key, [...section.built, ...section.unbuilt]);
  return {
    ...place,
    code: 'CONFIG_UNKNOWN_KEY',
    message: `unknown key \`${key}\`${path.length > 0 ? ` in ${fieldName(path)}` : ''}`,
    next: near ? `did you mean \`${near}\`?` : `known here: ${section.built.join(', ')}`,
  };
}

/** `dbs[0].replica.url` */
function fieldName(path: Path): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === 'number') return `${name}[${part}]`;
    return name === '' ? part : `${name}.${part}`;
  }, '');
}
