import { messageOf } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import type { S3Credentials, S3Location } from '../../config/s3-location.ts';
import { StoreError } from '../store.ts';

/** Gives the credentials for a request; asks anew when those it had run out. */
export type CredentialsSource = () => Promise<S3Credentials>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the credentials of `location` come from: the configuration, else the environment (`AWS_*`, then `LITESTREAM_*`), else
 * AWS's default chain: profiles, SSO, web identity, container and instance roles. The chain is loaded only when it is needed.
 */
export function credentialsOf(location: S3Location, env: Environment = process.env): CredentialsSource {
  const { credentials } = location;
  if (credentials) return async () => credentials;
  const found = fromEnvironment(env, 'AWS') ?? fromEnvironment(env, 'LITESTREAM');
  if (found) return async () => found;
  return fromDefaultChain(env);
}

function fromEnvironment(env: Environment, prefix: 'AWS' | 'LITESTREAM'): S3Credentials | undefined {
  const accessKeyId = env[`${prefix}_ACCESS_KEY_ID`];
  const secretAccessKey = env[`${prefix}_SECRET_ACCESS_KEY`];
  if (accessKeyId && secretAccessKey) {
    const token = prefix === 'AWS' ? env.AWS_SESSION_TOKEN : undefined;
    return {
      accessKeyId,
      secretAccessKey: new Secret(secretAccessKey),
      sessionToken: token ? new Secret(token) : undefined,
    };
  }
  if (!accessKeyId && !secretAccessKey) return undefined;
  const [there, missing] = accessKeyId
    ? ['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY']
    : ['SECRET_ACCESS_KEY', 'ACCESS_KEY_ID'];
  throw new StoreError('denied', {
    message: `${prefix}_${there} is set in the environment and ${prefix}_${missing} is not`,
    next: `set ${prefix}_${missing} as well, or neither`,
  });
}

/** The chain keeps what it found, and renews it before it runs out. */
function fromDefaultChain({ AWS_PROFILE: profile }: Environment): CredentialsSource {
  let provider: ReturnType<typeof loadChain> | undefined;
  let hadSome = false;
  return async () => {
    provider ??= loadChain();
    const find = await provider;
    try {
      const found = await find();
      hadSome = true;
      return {
        accessKeyId: found.accessKeyId,
        secretAccessKey: new Secret(found.secretAccessKey),
        sessionToken: found.sessionToken ? new Secret(found.sessionToken) : undefined,
      };
    } catch (error) {
      // Where there were some, a service that gives them is away for a while.
      if (hadSome) {
        throw new StoreError('transient', {
          message: `the credentials for S3 cannot be renewed: ${messageOf(error)}`,
          cause: error,
        });
      }
      throw new StoreError('denied', {
        message: `no credentials for S3${profile ? ` (AWS_PROFILE is ${profile})` : ''}: ${messageOf(error)}`,
        next: 'set access-key-id and secret-access-key in the configuration, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment',
        cause: error,
      });
    }
  };
}

async function loadChain() {
  try {
    return (await import('@aws-sdk/credential-provider-node')).defaultProvider();
  } catch (error) {
    throw new StoreError('denied', {
      message:
        'no credentials for S3 in the configuration or the environment, and the optional package for profiles and roles is not installed',
      next: 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run npm install @aws-sdk/credential-provider-node',
      cause: error,
    });
  }
}
