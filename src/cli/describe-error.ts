import { messageOf, RivuletError } from '../base/errors.ts';

/** What is printed of anything that was thrown, newline included. */
export function describeError(error: unknown, debug = process.env.RIVULET_DEBUG === '1'): string {
  const lines = linesOf(error);
  if (debug && error instanceof Error) {
    lines.push(error.stack ?? '');
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) lines.push(`Cause: ${cause.stack}`);
  }
  return `${lines.join('\n')}\n`;
}

function linesOf(error: unknown): string[] {
  if (error instanceof RivuletError && error.code !== 'INTERNAL') {
    const lines = [`Error: ${error.message}`];
    if (error.kept) lines.push(`Kept: ${error.kept}`);
    if (error.next) lines.push(`Try: ${error.next}`);
    return lines;
  }
  if (isSystemError(error)) return [`Error: ${error.message}`];
  return [
    `Error: ${messageOf(error)}`,
    'This is a defect in Rivulet, not in what you typed. Please report it with this text and the command.',
    ...(process.env.RIVULET_DEBUG === '1' ? [] : ['Try: the same with RIVULET_DEBUG=1, which shows where it happened']),
  ];
}

/** The operating system's refusal of something, such as ENOSPC: not ours, and clear as it is. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}
