import { RivuletError } from '../base/errors.ts';

/** The error for a replica URL that cannot be understood. */
export function invalidUrl(message: string, next?: string): RivuletError {
  return new RivuletError({ code: 'REPLICA_URL_INVALID', message, ...(next && { next }) });
}

/** A URL as it may be printed: without user, password and parameters, each of which can be a secret. */
export function printableUrl(url: string): string {
  return url.replace(/[?#].*$/s, '?…').replace(/^(\w+:\/\/).*@/s, '$1…@');
}
