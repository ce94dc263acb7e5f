import { accessSync, constants } from 'node:fs';
import { flushCompileCache } from 'node:module';

const SHELL = '/bin/sh';

/**
 * Ends this process at once, with this exit status. `process.exit` waits for V8's threads first, and one that compiles can
 * wait for this one, for ever: https://github.com/nodejs/node/issues/54918. A container would never stop, and an
 * entrypoint never go on. So a shell takes the place of this process and ends with the status.
 */
export function endProcess(status: number): never {
  // Node writes its compile cache at the end, which does not come.
  flushCompileCache();
  try {
    // Versions of Node that do not throw when the shell is missing abort.
    accessSync(SHELL, constants.X_OK);
    process.execve?.(SHELL, ['sh', '-c', `exit ${status}`], {});
  } catch {
    // There is the usual way.
  }
  process.exit(status);
}
