import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import {
  CHECKPOINTS_WRITER,
  type CheckpointFigures,
  type CheckpointMode,
  type CheckpointSettings,
  type CheckpointsTold,
  checkpointFigures,
} from './checkpoints.ts';
import type { Tool } from './tools.ts';
import { SETTLE_MS, WriterProcess, waitUntil } from './writer-process.ts';

const HUGE_WRITER = fileURLToPath(new URL('huge-writer.ts', import.meta.url));
/** After so long the huge transaction begins: in the midst of the checkpoints. */
const BEGINS_MS = 1000;

/** What an application waits for its checkpoints while another database, of the same replicator or none, gets one huge transaction. */
export async function besideHugeTransaction(
  tool: Tool | undefined,
  folder: string,
  original: string,
  mode: CheckpointMode,
  { hugeMib, ...settings }: CheckpointSettings & { readonly hugeMib: number },
): Promise<CheckpointFigures> {
  mkdirSync(folder, { recursive: true });
  const dbs = ['app', 'neighbour'].map((name) => {
    const path = join(folder, `${name}.db`);
    copyFileSync(original, path);
    return { path, replica: { path: join(folder, `${name}-replica`) } };
  });
  const config = join(folder, 'config.yml');
  writeFileSync(config, JSON.stringify({ dbs })); // JSON is YAML
  const replicator = tool && new LineProcess([tool.program, 'replicate', '-config', config], undefined, tool.env);
  const writers: WriterProcess<unknown>[] = [];
  try {
    const [app, neighbour] = dbs.map(({ path }) => path);
    const writer = await WriterProcess.begin<CheckpointsTold>(CHECKPOINTS_WRITER, [
      app ?? '',
      mode,
      JSON.stringify(settings),
    ]);
    const huge = await WriterProcess.begin<{ readonly tookMs: number }>(HUGE_WRITER, [neighbour ?? '', `${hugeMib}`]);
    writers.push(writer, huge);
    const images = dbs.map(({ replica }) => join(replica.path, 'ltx/0/0000000000000001-0000000000000001.ltx'));
    if (replicator) await waitUntil('the first images', replicator, () => images.every((path) => existsSync(path)));
    await sleep(SETTLE_MS);
    const [told] = await Promise.all([writer.work(), sleep(BEGINS_MS).then(() => huge.work())]);
    return checkpointFigures(told);
  } finally {
    await Promise.all([...writers.map((writer) => writer.end()), replicator?.kill()]);
    rmSync(folder, { recursive: true, force: true });
  }
}
