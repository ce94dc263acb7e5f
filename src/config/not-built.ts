import { RivuletError } from '../base/errors.ts';

/** The error for something that Litestream knows and Rivulet does not do yet: named, never silently ignored. */
export function notBuilt(what: string, next?: string): RivuletError {
  return new RivuletError({
    code: 'NOT_BUILT',
    message: `${what} is known to Litestream and not built in Rivulet yet`,
    ...(next && { next }),
  });
}
