import { spawnSync } from 'node:child_process';
import { accessSync, constants, cpSync, rmSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A program that replicates and restores, with Litestream's command line. */
export interface Tool {
  readonly name: string;
  readonly version: string;
  readonly program: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Rivulet as its package ships it, made from this checkout. */
export function rivulet(): Tool {
  const built = spawnSync(process.execPath, [join(root, 'scripts/build.ts')], { stdio: 'inherit' });
  if (built.status !== 0) throw new Error('the package does not build');
  const folder = join(root, 'build/package');
  rmSync(folder, { recursive: true, force: true });
  for (const part of ['bin', 'dist', 'package.json']) cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const program = join(folder, 'bin/rivulet');
  return { name: 'rivulet', version: versionOf(program, ['version']), program, env: process.env };
}

/** The real Litestream: RIVULET_TEST_LITESTREAM, in .tools, or on PATH; undefined where there is none. */
export function litestream(): Tool | undefined {
  const usual = ['.tools/litestream', '.tools/litestream-pip/bin/litestream'].map((place) => join(root, place));
  const given = process.env.RIVULET_TEST_LITESTREAM;
  const program = given ? given : (usual.find(isExecutable) ?? onPath('litestream'));
  if (program === undefined) return undefined;
  // Its S3 client takes this for its own and stops.
  const { AWS_CA_BUNDLE: _, ...env } = process.env;
  return { name: 'litestream', version: versionOf(program, ['version']), program, env };
}

/** SQLite's command line tool; undefined where there is none. */
export function sqlite3(): Tool | undefined {
  const program = onPath('sqlite3');
  if (program === undefined) return undefined;
  const version = versionOf(program, ['--version']).split(' ', 1)[0] ?? '';
  return { name: 'sqlite3', version, program, env: process.env };
}

/** Copies a file the plain way and waits until it is on disk: what any copy costs at least. */
export function copyCommand(from: string, to: string): readonly string[] {
  // A copy that shares its blocks with the original would be none; a cp that knows no such copies has no flag for it.
  const script = 'cp --reflink=never "$0" "$1" 2>/dev/null || cp "$0" "$1"; sync "$1"';
  return ['sh', '-c', script, from, to];
}

function versionOf(program: string, args: readonly string[]): string {
  const { status, stdout, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`);
  return stdout.trim().replace(/^v/, '');
}

function onPath(name: string): string | undefined {
  const places = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder || '.', name));
  return places.find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
