import { RivuletError } from '../base/errors.ts';

/** SQLite before this one can corrupt a WAL database when a checkpoint meets a writer (the WAL-reset bug). */
const LEAST_SQLITE: readonly number[] = [3, 51, 3];

export interface EngineVersions {
  readonly node: string;
  readonly sqlite?: string | undefined;
}

/** Refuses to go on with a Node, or a SQLite in it, that must not touch a database. Throws ENGINE_TOO_OLD. */
export function requireEngine(versions: EngineVersions = process.versions): void {
  const node = numbers(versions.node);
  const sqlite = numbers(versions.sqlite ?? '0');
  // 23 and the start of 24 are newer than 22.22.3 by number, but their SQLite is not.
  const nodeFits = node[0] === 22 ? isAtLeast(node, [22, 22, 3]) : isAtLeast(node, [24, 15, 0]);
  if (nodeFits && isAtLeast(sqlite, LEAST_SQLITE)) return;
  throw new RivuletError({
    code: 'ENGINE_TOO_OLD',
    message: `this is Node ${versions.node} with SQLite ${versions.sqlite ?? '(none)'}; Rivulet needs Node 24.15 or later, or 22.22.3 or later of the 22 line, with SQLite ${LEAST_SQLITE.join('.')} or later`,
    kept: 'no database was changed',
    next: 'set RIVULET_NODE to the path of a fitting node, and start bin/rivulet',
  });
}

/** The same of the SQLite that is really in use, by its own word: a Node can be built with one that comes from elsewhere. */
export function requireSqlite(version: unknown): void {
  requireEngine({ node: process.versions.node, sqlite: String(version) });
}

function numbers(version: string): number[] {
  return version.split(/[.-]/, 3).map((part) => Number.parseInt(part, 10) || 0);
}

function isAtLeast(version: readonly number[], least: readonly number[]): boolean {
  for (const [index, part] of least.entries()) {
    const own = version[index] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}
