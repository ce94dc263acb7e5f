import { flushCompileCache } from 'node:module';

/**
 * The shell that runs the launcher, when that started this process: there is one then, and it may be started. (Where that fails
 * Node does not throw but aborts.)
 */
const { RIVULET_LAUNCHER_SHELL: SHELL } = process.env;

/**
 * Ends this process at once, with this exit status. `process.exit` waits for V8's threads first, and one that compiles can
 * wait for this one, for ever: https://github.com/nodejs/node/issues/54918. A container would never stop, and an
 * entrypoint never go on. So a shell takes the place of this process and ends with the status.
 */
export function endProcess(status: number): never {
  // Node writes its compile cache at the end, which does not come.
  flushCompileCache();
  if (SHELL) process.execve?.(SHELL, ['sh', '-c', `exit ${status}`], {});
  process.exit(status);
}
