import type { TestContext } from 'node:test';
import type { S3Location } from '../../src/config/s3-location.ts';
import { S3Store, type S3StoreOptions } from '../../src/store/s3/s3-store.ts';
import { FakeS3, type FakeS3Options, locationOf } from './fake-s3.ts';
import { type Script, type ScriptedAnswer, ScriptedServer, type ScriptedServerOptions } from './scripted-server.ts';

/** A store in front of a fake of Amazon's. */
export async function fakeStore(
  t: TestContext,
  options: FakeS3Options = {},
  changes: Partial<S3Location> = {},
  storeOptions: S3StoreOptions = {},
): Promise<{ fake: FakeS3; store: S3Store }> {
  const fake = await FakeS3.start(t, options);
  return { fake, store: storeAt(t, fake.location(changes), storeOptions) };
}

/** A store in front of a server that does what a script says, or the same at each request. */
export async function scriptedStore(
  t: TestContext,
  script: Script | ScriptedAnswer,
  changes: Partial<S3Location> = {},
  options: S3StoreOptions & ScriptedServerOptions = {},
): Promise<{ server: ScriptedServer; store: S3Store }> {
  const server = await ScriptedServer.start(t, typeof script === 'function' ? script : () => script, options);
  return { server, store: storeAt(t, locationOf({ endpoint: server.origin, ...changes }), options) };
}

/** A store that sees nothing of this machine's environment. */
export function storeAt(t: TestContext, location: S3Location, options: S3StoreOptions = {}): S3Store {
  const store = new S3Store(location, { env: {}, ...options });
  t.after(() => store.close());
  return store;
}
