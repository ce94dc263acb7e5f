import { RivuletError } from '../../src/base/errors.ts';
import { Replica } from '../../src/replica/replica.ts';
import { restoreDatabase } from '../../src/restore/restore.ts';
import { FileStore } from '../../src/store/file/file-store.ts';

/** Restores with force in a process of its own: `<replica folder> <output path>`. Prints how it ended as JSON. */
const [root = '', outputPath = ''] = process.argv.slice(2);
try {
  const onProgress = ({ phase }: { phase: string }): void => {
    if (phase !== seen) process.stdout.write(`${phase}\n`);
    seen = phase;
  };
  let seen = '';
  const { movedAside } = await restoreDatabase(new Replica(new FileStore({ root })), {
    outputPath,
    force: true,
    onProgress,
  });
  process.stdout.write(`${JSON.stringify({ movedAside })}\n`);
} catch (error) {
  if (!(error instanceof RivuletError)) throw error;
  const { code, message, kept, next } = error;
  process.stdout.write(`${JSON.stringify({ code, message, kept, next })}\n`);
}
