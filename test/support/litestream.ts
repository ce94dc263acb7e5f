import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runOk, TestProcess } from './processes.ts';
import { freshPath, isExecutable, onPath, pathOf, type Tool } from './tools.ts';

const checkout = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A real Litestream v0.5 binary. */
export const LITESTREAM: Tool = {
  name: 'a Litestream binary (RIVULET_TEST_LITESTREAM, .tools/litestream-pip/bin/litestream or on PATH)',
  path:
    process.env.RIVULET_TEST_LITESTREAM ||
    [join(checkout, '.tools/litestream-pip/bin/litestream')].find(isExecutable) ||
    onPath('litestream'),
};

export interface LitestreamOptions {
  /** Lines for the top of its configuration. */
  readonly global?: readonly string[];
}

/** Starts `litestream replicate`, quick to notice changes, and waits until it has the database open. */
export async function litestreamReplicate(
  t: TestContext,
  path: string,
  replica: string,
  options: LitestreamOptions = {},
): Promise<TestProcess> {
  const config = join(dirname(path), 'litestream-test.yml');
  const lines = [
    ...(options.global ?? []),
    'dbs:',
    `  - path: ${path}`,
    '    monitor-interval: 50ms',
    '    replica:',
    '      type: file',
    `      path: ${replica}`,
    '      sync-interval: 50ms',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const process = new TestProcess(t, pathOf(LITESTREAM), ['replicate', '-config', config]);
  await process.says(/replicating to/);
  return process;
}

/** Restores a replica with Litestream and returns where to. */
export async function litestreamRestore(t: TestContext, folder: string, url: string): Promise<string> {
  const path = freshPath(folder);
  await runOk(t, pathOf(LITESTREAM), ['restore', '-o', path, url]);
  return path;
}
