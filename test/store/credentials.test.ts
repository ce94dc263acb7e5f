import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Secret } from '../../src/base/secret.ts';
import { credentialsOf } from '../../src/store/s3/s3-credentials.ts';
import { isStoreError } from '../../src/store/store.ts';
import { credentialsFor, KEY, locationOf } from '../support/fake-s3.ts';
import { runOk } from '../support/processes.ts';
import { assertFails, assertNoSecrets, SECRETS } from '../support/s3-failure.ts';
import { type Script, ScriptedServer, XML } from '../support/scripted-server.ts';
import { tempFolder } from '../support/temp.ts';

const CHILD = fileURLToPath(new URL('./credentials-child.ts', import.meta.url));
const NOWHERE = locationOf({ credentials: undefined });
const AWS = { AWS_ACCESS_KEY_ID: 'AKIAENV', AWS_SECRET_ACCESS_KEY: 'aws secret'.replace(' ', '-') };
const LITESTREAM = { LITESTREAM_ACCESS_KEY_ID: 'AKIALITE', LITESTREAM_SECRET_ACCESS_KEY: 'lite-secret' };
const FAR = '2999-01-01T00:00:00Z';

interface Found {
  readonly accessKeyId?: string;
  readonly secret?: string;
  readonly token?: string;
  readonly kind?: string;
  readonly message?: string;
  readonly next?: string;
}

/** What a process with this environment finds, asked so often. Of this machine's own credentials it sees nothing. */
async function inProcess(
  t: TestContext,
  env: Readonly<Record<string, string>>,
  times: number | string = 1,
): Promise<Found[]> {
  const foreign = Object.keys(process.env).filter((name) => name.startsWith('AWS_'));
  const own = { HOME: tempFolder(t), AWS_EC2_METADATA_DISABLED: 'true', NODE_OPTIONS: '', ...env };
  const hidden = Object.fromEntries(foreign.map((name) => [name, undefined]));
  const args = ['--disable-warning=ExperimentalWarning', CHILD, String(times)];
  const output = await runOk(t, process.execPath, args, { env: { ...hidden, ...own } });
  assertNoSecrets(output);
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The answer of services that give keys: containers, instances, processes. */
function keys(accessKeyId: string, expiration = FAR): string {
  return JSON.stringify({
    Version: 1,
    Code: 'Success',
    Type: 'AWS-HMAC',
    LastUpdated: '2024-01-01T00:00:00Z',
    AccessKeyId: accessKeyId,
    SecretAccessKey: SECRETS.secret,
    Token: SECRETS.token,
    SessionToken: SECRETS.token,
    Expiration: expiration,
  });
}

const TEMPORARY = { secret: digest(SECRETS.secret), token: digest(SECRETS.token) };

function json(body: string): { headers: Record<string, string>; body: string } {
  return { headers: { 'Content-Type': 'application/json' }, body };
}

// ---- Configuration and environment ----

test('the configuration comes before AWS_*, and that before LITESTREAM_*', async () => {
  const configured = locationOf({ credentials: credentialsFor(KEY) });
  const of = async (location: typeof configured, env: Record<string, string>): Promise<string> => {
    const { accessKeyId, secretAccessKey } = await credentialsOf(location, env)();
    return `${accessKeyId} ${secretAccessKey.reveal()}`;
  };
  assert.equal(await of(configured, { ...AWS, ...LITESTREAM }), `${KEY.accessKeyId} ${KEY.secretAccessKey}`);
  assert.equal(await of(NOWHERE, { ...AWS, ...LITESTREAM }), 'AKIAENV aws-secret');
  assert.equal(await of(NOWHERE, LITESTREAM), 'AKIALITE lite-secret');
  assert.equal(
    await of(NOWHERE, { ...AWS, AWS_PROFILE: 'other' }),
    'AKIAENV aws-secret',
    'as in the tools of AWS and in Litestream',
  );
});

test('a session token of the environment belongs to the keys of AWS_*, and not to others', async () => {
  const env = { ...AWS, AWS_SESSION_TOKEN: SECRETS.token };
  assert.equal((await credentialsOf(NOWHERE, env)()).sessionToken?.reveal(), SECRETS.token);
  const lite = await credentialsOf(NOWHERE, { ...LITESTREAM, AWS_SESSION_TOKEN: SECRETS.token })();
  assert.equal(lite.sessionToken, undefined);
  const configured = locationOf({ credentials: { ...KEY, secretAccessKey: new Secret('s'), sessionToken: undefined } });
  assert.equal((await credentialsOf(configured, env)()).sessionToken, undefined);
});

test('one half of a pair in the environment is an error that names the other half', async () => {
  for (const prefix of ['AWS', 'LITESTREAM']) {
    for (const [there, missing] of [
      ['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'],
      ['SECRET_ACCESS_KEY', 'ACCESS_KEY_ID'],
    ]) {
      const find = async () => credentialsOf(NOWHERE, { [`${prefix}_${there}`]: SECRETS.secret })();
      const says = new RegExp(`^${prefix}_${there} is set in the environment and ${prefix}_${missing} is not$`);
      await assertFails(find(), { kind: 'denied', says, next: new RegExp(`set ${prefix}_${missing} as well`) });
    }
  }
});

test('variables that are set to nothing are not set', async () => {
  const { accessKeyId } = await credentialsOf(NOWHERE, {
    AWS_ACCESS_KEY_ID: '',
    AWS_SECRET_ACCESS_KEY: '',
    ...LITESTREAM,
  })();
  assert.equal(accessKeyId, 'AKIALITE');
});

// ---- The default chain ----

test('nothing anywhere is an error that says where to set them', async (t) => {
  const [found = {}] = await inProcess(t, {});
  assert.equal(found.kind, 'denied');
  assert.match(found.message ?? '', /^no credentials for S3: /);
  assert.match(found.next ?? '', /access-key-id and secret-access-key.*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/);
});

test('a profile of a credentials file is found, the default one and the one that AWS_PROFILE names', async (t) => {
  const file = join(tempFolder(t), 'credentials');
  const profile = (name: string, id: string): string =>
    `[${name}]\naws_access_key_id = ${id}\naws_secret_access_key = ${SECRETS.secret}\n`;
  writeFileSync(file, profile('default', 'AKIADEFAULT') + profile('other', 'AKIAOTHER'));
  const env = { AWS_SHARED_CREDENTIALS_FILE: file };
  assert.deepEqual(await inProcess(t, env), [{ accessKeyId: 'AKIADEFAULT', secret: TEMPORARY.secret }]);
  const [other] = await inProcess(t, { ...env, AWS_PROFILE: 'other' });
  assert.equal(other?.accessKeyId, 'AKIAOTHER');
  const [lite] = await inProcess(t, { ...env, AWS_PROFILE: 'other', ...LITESTREAM });
  assert.equal(lite?.accessKeyId, 'AKIALITE');
  const [absent] = await inProcess(t, { ...env, AWS_PROFILE: 'absent' });
  assert.equal(absent?.kind, 'denied');
  assert.match(absent?.message ?? '', /^no credentials for S3 \(AWS_PROFILE is absent\): /);
});

test('a process that gives credentials is run, and its failure is told without what it printed', async (t) => {
  const folder = tempFolder(t);
  const file = join(folder, 'config');
  const answers = join(folder, 'answers');
  writeFileSync(answers, keys('AKIAPROCESS'));
  writeFileSync(file, `[default]\ncredential_process = cat ${answers}\n`);
  const env = { AWS_CONFIG_FILE: file, AWS_SHARED_CREDENTIALS_FILE: join(folder, 'none') };
  assert.deepEqual(await inProcess(t, env), [{ accessKeyId: 'AKIAPROCESS', ...TEMPORARY }]);
  writeFileSync(answers, keys('AKIAPROCESS').slice(0, -20));
  const [spoiled] = await inProcess(t, env);
  assert.equal(spoiled?.kind, 'denied');
  assert.match(spoiled?.message ?? '', /^no credentials for S3: /);
});

test('the token of a web identity is exchanged', async (t) => {
  const token = join(tempFolder(t), 'token');
  writeFileSync(token, 'the-identity');
  const sts = await ScriptedServer.start(t, () => ({
    headers: XML,
    body: `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>${SECRETS.secret}</SecretAccessKey><SessionToken>${SECRETS.token}</SessionToken><Expiration>${FAR}</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>R</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`,
  }));
  const env = {
    AWS_WEB_IDENTITY_TOKEN_FILE: token,
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/backup',
    AWS_ENDPOINT_URL_STS: sts.origin,
    AWS_REGION: 'eu-test-1',
  };
  assert.deepEqual(await inProcess(t, env), [{ accessKeyId: 'ASIAWEB', ...TEMPORARY }]);
  assert.match(
    sts.requests[0]?.body.toString() ?? '',
    /Action=AssumeRoleWithWebIdentity.*WebIdentityToken=the-identity/,
  );
});

test('a container gets the credentials of its task', async (t) => {
  const agent = await ScriptedServer.start(t, () => json(keys('ASIATASK')));
  const env = {
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${agent.origin}/creds`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pass',
  };
  assert.deepEqual(await inProcess(t, env, 5), Array(5).fill({ accessKeyId: 'ASIATASK', ...TEMPORARY }));
  assert.deepEqual(agent.lines, ['GET /creds'], 'asked once for all five');
  assert.equal(agent.requests[0]?.headers.authorization, 'pass');
});

test('an instance gets the credentials of its role, with a session of the metadata service', async (t) => {
  const script: Script = ({ method, path }) => {
    if (method === 'PUT') return { body: 'imds-session' };
    return path.endsWith('/security-credentials/') ? { body: 'backup-role' } : json(keys('ASIAROLE'));
  };
  const service = await ScriptedServer.start(t, script);
  const env = { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: service.origin };
  assert.deepEqual(await inProcess(t, env), [{ accessKeyId: 'ASIAROLE', ...TEMPORARY }]);
  const [session, ...asked] = service.requests;
  assert.equal(session?.path, '/latest/api/token');
  for (const { headers } of asked) assert.equal(headers['x-aws-ec2-metadata-token'], 'imds-session');
});

test('credentials are renewed before they run out', async (t) => {
  const soon = (): string => new Date(Date.now() + 120_000).toISOString();
  let given = 0;
  const agent = await ScriptedServer.start(t, () => json(++given === 1 ? keys('ASIAOLD', soon()) : keys('ASIANEW')));
  const found = await inProcess(t, { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${agent.origin}/creds` }, 'ASIANEW');
  assert.equal(found[0]?.accessKeyId, 'ASIAOLD');
  assert.equal(found.at(-1)?.accessKeyId, 'ASIANEW');
  assert.ok(found.every(({ kind }) => kind === undefined));
});

test('a service that is away when credentials are to be renewed is worth waiting for, and one that never gave any is not', async (t) => {
  let given = 0;
  const agent = await ScriptedServer.start(t, () => {
    if (++given > 1) return { status: 404, body: '{}' };
    return json(keys('ASIAONCE', new Date(Date.now() + 3000).toISOString()));
  });
  const env = { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${agent.origin}/creds` };
  const found = await inProcess(t, env, 'transient');
  assert.equal(found[0]?.accessKeyId, 'ASIAONCE');
  assert.match(found.at(-1)?.message ?? '', /^the credentials for S3 cannot be renewed: /);
  const [never] = await inProcess(t, env);
  assert.equal(never?.kind, 'denied');
});

test('an error of credentials is one of the store', () => {
  assert.throws(
    () => credentialsOf(NOWHERE, { AWS_ACCESS_KEY_ID: 'x' }),
    (error) => isStoreError(error, 'denied'),
  );
});
