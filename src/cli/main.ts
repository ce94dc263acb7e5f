import { COMMANDS, UNBUILT_COMMANDS } from './commands.ts';
import { endProcess } from './end-process.ts';

/** Runs one command line; the result is the exit status. */
async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name.startsWith('-')) return withoutCommand(name);
  const entry = COMMANDS.find((command) => command.name === name);
  if (entry) return (await entry.load()).execute(rest);
  if (UNBUILT_COMMANDS.includes(name)) {
    const { notBuilt } = await import('../config/not-built.ts');
    throw notBuilt(`the command \`${name}\``, '`rivulet help` lists the commands');
  }
  const { unknownCommand } = await import('./help-text.ts');
  throw unknownCommand(name);
}

async function withoutCommand(flag: string | undefined): Promise<number> {
  const name = flag?.replace(/^--?/, '');
  if (name === 'version') return run(['version']);
  const { overview } = await import('./help-text.ts');
  if (flag !== undefined && name !== 'h' && name !== 'help') {
    process.stderr.write(`${flag}: flags come after the command\n\n`);
  }
  const wanted = name === 'h' || name === 'help';
  (wanted ? process.stdout : process.stderr).write(overview());
  return wanted ? 0 : 1;
}

async function report(error: unknown): Promise<number> {
  const { describeError } = await import('./describe-error.ts');
  process.stderr.write(describeError(error));
  return 1;
}

let lost: Error | undefined;

/** A reader that went away (`rivulet ltx … | head -1`) is no error; output that could not be written is. */
function watchOutput(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') lost ??= error;
}

process.stdout.on('error', watchOutput);
process.stderr.on('error', watchOutput);
process.on('uncaughtException', (error) => void report(error).finally(() => endProcess(1)));

let status = await run(process.argv.slice(2)).catch(report);
// A failed write is told of one turn later.
await new Promise((resolve) => setImmediate(resolve));
if (lost) {
  const failed = await report(lost);
  status ||= failed;
}
// Output may still be on its way into a pipe; what is open beside it must not keep us.
process.stdout.write('', () => process.stderr.write('', () => endProcess(status)));
