import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../bin/rivulet', import.meta.url));
const TIMEOUT_MS = 60_000;

/** The shells that `#!/bin/sh` may be, as commands. */
export const SHELLS = ['sh', 'dash', 'bash --posix', 'busybox sh'] as const;

/** Why a shell cannot be tested with; false when it can. */
export function missing(shell: string): string | false {
  const [program = '', ...args] = shell.split(' ');
  const works = spawnSync(program, [...args, '-c', ':'], { stdio: 'ignore' }).status === 0;
  return works ? false : `${program} is not on this machine`;
}

/** Why nothing can be PID 1 here; false when it can. */
export function missingNamespaces(): string | false {
  const probe = spawnSync('unshare', ['-pf', '--mount-proc', 'true'], { stdio: 'ignore' });
  return probe.status === 0 ? false : '`unshare -pf --mount-proc` is not permitted or not on this machine';
}

/** Makes an installation of the launcher in `folder`, with `program` as its entry; returns the launcher's path. */
export function install(folder: string, program: string): string {
  const launcher = join(folder, 'bin/rivulet');
  mkdirSync(dirname(launcher), { recursive: true });
  mkdirSync(join(folder, 'src/cli'), { recursive: true });
  copyFileSync(LAUNCHER, launcher);
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'src/cli/main.ts'), program);
  return launcher;
}

/** Makes an installation like that of the package: compiled, without sources. */
export function asPackage(folder: string): void {
  mkdirSync(join(folder, 'dist'), { recursive: true });
  renameSync(join(folder, 'src/cli/main.ts'), join(folder, 'dist/main.js'));
}

/** Writes a program that says that it is this version of Node, and otherwise only prints `name` and its arguments. */
export function fakeNode(path: string, version: string, name = version): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n[ "$1" = -v ] && echo '${version}' && exit\necho '${name}' "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

/** A folder for PATH with what the launcher itself uses, and no Node. */
export function toolsFolder(folder: string): string {
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  for (const name of ['sh', 'dash', 'bash', 'busybox', 'readlink', 'mkdir', 'setsid']) {
    const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
    if (found.startsWith('/')) symlinkSync(found, join(tools, name));
  }
  return tools;
}

export interface Launch {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `launcher` with `shell`, in exactly this environment. */
export function launch(
  shell: string,
  launcher: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
  cwd = '/',
): Launch {
  const [program = '', ...options] = shell.split(' ');
  const search = process.env.PATH ?? '';
  const found = spawnSync('sh', ['-c', `command -v ${program}`], {
    encoding: 'utf8',
    env: { PATH: search },
  }).stdout.trim();
  return spawnSync(found, [...options, launcher, ...args], { encoding: 'utf8', env, cwd, timeout: TIMEOUT_MS });
}
