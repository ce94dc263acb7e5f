import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { Secret } from '../../src/base/secret.ts';
import type { S3Location } from '../../src/config/s3-location.ts';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What has to be known to use a server; it travels as JSON. */
export interface S3Access extends Credentials {
  readonly endpoint: string;
  readonly region: string;
}

/** A real S3 server that tests share: each takes buckets of its own. */
export class S3Server implements S3Access {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Whether it keeps `If-None-Match: *` on a PUT. */
  readonly conditionalWrites: boolean;

  constructor(access: S3Access, conditionalWrites: boolean) {
    this.endpoint = access.endpoint;
    this.region = access.region;
    this.accessKeyId = access.accessKeyId;
    this.secretAccessKey = access.secretAccessKey;
    this.conditionalWrites = conditionalWrites;
  }

  get port(): number {
    return Number(new URL(this.endpoint).port);
  }

  /** Where our own store finds a place in a bucket here. */
  location(bucket: string, keyPrefix: string, changes: Partial<S3Location> = {}): S3Location {
    const { endpoint, region, accessKeyId, secretAccessKey } = this;
    return {
      type: 's3',
      url: `s3://${bucket}/${keyPrefix.replace(/\/$/, '')}`,
      bucket,
      keyPrefix,
      endpoint,
      region,
      pathStyle: true,
      credentials: { accessKeyId, secretAccessKey: new Secret(secretAccessKey), sessionToken: undefined },
      signPayload: true,
      contentMd5: true,
      skipVerify: false,
      rootCas: [],
      storageClass: undefined,
      encryption: undefined,
      partSizeBytes: 5 * 1024 * 1024,
      concurrency: 5,
      headers: {},
      ...changes,
    };
  }

  /** The replica at this path of a bucket, as the command line names it. */
  url(bucket: string, path: string, endpoint = this.endpoint): string {
    return `s3://${bucket}/${path}?${new URLSearchParams({ endpoint, region: this.region })}`;
  }

  /** What the command line needs to know besides. */
  get env(): Readonly<Record<string, string>> {
    return { AWS_ACCESS_KEY_ID: this.accessKeyId, AWS_SECRET_ACCESS_KEY: this.secretAccessKey };
  }

  /** The AWS SDK on this server, as its owner or as somebody else. Destroy it when done. */
  client(credentials: Credentials = this): S3Client {
    const { accessKeyId, secretAccessKey } = credentials;
    return new S3Client({
      endpoint: this.endpoint,
      region: this.region,
      credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: true,
      // Neither server knows the trailers that are this client's default.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  async createBucket(name: string): Promise<void> {
    await this.withClient((client) => client.send(new CreateBucketCommand({ Bucket: name })));
  }

  /** Makes a bucket that nobody else uses; returns its name. */
  async newBucket(): Promise<string> {
    const name = `rivulet-${randomBytes(6).toString('hex')}`;
    await this.createBucket(name);
    return name;
  }

  protected async withClient<T>(use: (client: S3Client) => Promise<T>): Promise<T> {
    const client = this.client();
    try {
      return await use(client);
    } finally {
      client.destroy();
    }
  }
}

/** A server that somebody started. */
export interface Started<Access extends S3Access> {
  readonly access: Access;
  stop(): Promise<void>;
}

/** The access to a server that `npm test` started for all files, by the variable that tells of it. */
export function sharedAccess<Access extends S3Access>(variable: string): Access | undefined {
  const json = process.env[variable];
  // Written by scripts/test.ts from a value of this very type.
  return json === undefined ? undefined : (JSON.parse(json) as Access);
}
