/** What a {@link RivuletError} is made of. Every part is a sentence for the person who reads it. */
export interface ErrorParts {
  /** Stable name of the error, for programs. Listed in docs/errors.md. */
  readonly code: string;
  /** What happened, and to what (path, key, TXID). */
  readonly message: string;
  /** What was kept safe, when something could have been lost. */
  readonly kept?: string;
  /** The next command to type or thing to change. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** An error that a user can act on. The command line prints its parts; it never prints a stack trace for one. */
export class RivuletError extends Error {
  override readonly name: string = 'RivuletError';
  readonly code: string;
  readonly kept: string | undefined;
  readonly next: string | undefined;

  constructor(parts: ErrorParts) {
    super(parts.message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.code = parts.code;
    this.kept = parts.kept;
    this.next = parts.next;
  }
}

/** True when `error` carries this stable code (of ours or of Node's, such as `ENOENT`). */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Node's codes for "no room left": disk, quota or file size limit. */
export const DISK_FULL_CODES = ['ENOSPC', 'EDQUOT', 'EFBIG'] as const;

/** States an invariant that only a defect of Rivulet itself can break. */
export function assert(condition: unknown, why: string): asserts condition {
  if (!condition) throw new RivuletError({ code: 'INTERNAL', message: `internal invariant broken: ${why}` });
}
