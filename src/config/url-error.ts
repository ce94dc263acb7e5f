import { RivuletError } from '../base/errors.ts';

/** The error for a replica URL that cannot be understood. */
export function invalidUrl(message: string, next?: string): RivuletError {
  return new RivuletError({ code: 'REPLICA_URL_INVALID', message, ...(next && { next }) });
}
