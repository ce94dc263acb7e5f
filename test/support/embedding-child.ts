import { existsSync, linkSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { claimDatabase, withDatabaseFile } from '../../src/base/database-files.ts';
import { messageOf, RivuletError } from '../../src/base/errors.ts';
import { inspectDatabase } from '../../src/capture/inspect.ts';
import {
  defaultConfig,
  defaultDatabaseConfig,
  openReplica,
  parseReplicaUrl,
  restoreDatabase,
  runReplicate,
  silentLogger,
} from '../../src/index.ts';

/*
 * A program that embeds Rivulet: it replicates DATABASE to URL until a signal comes. It says `begun` once a first file is
 * stored. Once there is a file GO, it does everything with the same database that opens files, by all of its names, and
 * prints what came of it.
 */

const [, , path = '', url = '', go = ''] = process.argv;
const folder = dirname(path);

async function restoreTo(outputPath: string): Promise<void> {
  const { store, replica } = await openReplica(parseReplicaUrl(url));
  try {
    await restoreDatabase(replica, { outputPath, force: true, logger: silentLogger });
  } finally {
    await store.close();
  }
}

async function say(what: string, work: () => unknown): Promise<void> {
  const outcome = await Promise.resolve()
    .then(work)
    .then(
      () => 'done',
      (error: unknown) => (error instanceof RivuletError ? error.code : messageOf(error)),
    );
  console.log(`${what}: ${outcome}`);
}

async function useTheDatabase(): Promise<void> {
  const [hard, soft] = [join(folder, 'hard.db'), join(folder, 'soft.db')];
  linkSync(path, hard);
  symlinkSync(path, soft);
  for (const name of [path, hard, soft]) {
    await say('its header', () => withDatabaseFile(name, () => 0));
    await say('an inspection', () => inspectDatabase(name, true, 0));
    await say('a second capture', () => claimDatabase(name));
    await say('a restore over it', () => restoreTo(name));
  }
  await say('a restore over its WAL-index', () => restoreTo(`${path}-shm`));
  await say('a restore elsewhere', () => restoreTo(join(folder, 'elsewhere.db')));
  await say('a restore over what was restored', () => restoreTo(join(folder, 'elsewhere.db')));
  console.log('that is all');
}

const begun = Promise.withResolvers<void>();
const status = runReplicate({
  config: defaultConfig(defaultDatabaseConfig(path, url)),
  once: false,
  logger: silentLogger,
  events: () => ({ stored: () => begun.resolve() }),
});
await begun.promise;
console.log('begun');
while (!existsSync(go)) await sleep(10);
await useTheDatabase();
process.exitCode = await status;
