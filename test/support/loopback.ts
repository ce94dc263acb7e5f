import type { LookupFunction } from 'node:net';

/** A name service to which every host is this machine. */
export const toLoopback: LookupFunction = (_, options, done) => {
  if (options.all) done(null, [{ address: '127.0.0.1', family: 4 }]);
  else done(null, '127.0.0.1', 4);
};

/** A name service that fails with this code. */
export function failingLookup(code: string): LookupFunction {
  return (hostname, _, done) => done(Object.assign(new Error(`getaddrinfo ${code} ${hostname}`), { code }), '', 4);
}
