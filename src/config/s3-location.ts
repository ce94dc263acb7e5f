import type { Secret } from '../base/secret.ts';

/** Server-side encryption: with a key that the store never keeps (SSE-C), or with one that it manages (SSE-KMS). */
export type S3Encryption =
  | { readonly kind: 'customer-key'; readonly algorithm: 'AES256' /** 32 bytes, base64. */; readonly key: Secret }
  | { readonly kind: 'kms'; readonly keyId: string };

/** A replica in a bucket of Amazon S3, or of a store that speaks its protocol. */
export interface S3Location {
  readonly type: 's3';
  /** Its canonical spelling, without secrets: `s3://bucket/path`, and `?endpoint=origin` where it is not Amazon's. */
  readonly url: string;
  /** Name of the bucket, or the ARN of an access point. */
  readonly bucket: string;
  /**
   * What the key of every object starts with, the closing slash included: `app/`. As in Litestream it is `/` or `./` for the
   * root of a bucket, and may start with a slash: neither may be cleaned away on the way to the store.
   */
  readonly keyPrefix: string;
  /** `https://host[:port][/path]` or `http://…`, no slash at its end; undefined: Amazon's own of the region. */
  readonly endpoint: string | undefined;
  /** Undefined: it is asked for. */
  readonly region: string | undefined;
  /** The bucket in the path (`endpoint/bucket/key`), not in the host name. */
  readonly pathStyle: boolean;
  /** From the configuration; undefined: they come from the environment. */
  readonly credentials: S3Credentials | undefined;
  /** Sign the bytes that are sent, too; false: only the request (`UNSIGNED-PAYLOAD`). */
  readonly signPayload: boolean;
  /** Whether deletes carry a Content-MD5. */
  readonly contentMd5: boolean;
  /** Take any certificate of the server. */
  readonly skipVerify: boolean;
  /** Files with certificates (PEM) of authorities to trust beside the system's. */
  readonly rootCas: readonly string[];
  readonly storageClass: string | undefined;
  readonly encryption: S3Encryption | undefined;
  /** Objects from this size on are sent in parts of this size. */
  readonly partSizeBytes: number;
  /** How many parts of one object are sent at a time. */
  readonly concurrency: number;
  /** What this provider wants on each request. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  readonly sessionToken: Secret | undefined;
}
