import type { Secret } from '../base/secret.ts';

/** Fewest and most bytes of a part, as S3 has it. */
export const MIN_PART_SIZE_BYTES = 5 * 1024 * 1024;
export const MAX_PART_SIZE_BYTES = 5 * 1024 * 1024 * 1024;
/** More parts at a time than this fill memory and help nobody. */
export const MAX_CONCURRENCY = 100;

/** What a configuration says of a bucket, by the keys that it has there. What is absent or empty has its default. */
export interface S3Settings {
  readonly bucket?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly 'force-path-style'?: boolean | undefined;
  readonly 'access-key-id'?: string | undefined;
  readonly 'secret-access-key'?: Secret | undefined;
  readonly 'session-token'?: Secret | undefined;
  readonly 'sign-payload'?: boolean | undefined;
  readonly 'require-content-md5'?: boolean | undefined;
  readonly 'skip-verify'?: boolean | undefined;
  readonly 'root-cas'?: readonly string[] | undefined;
  readonly 'storage-class'?: string | undefined;
  readonly 'part-size'?: number | undefined;
  readonly concurrency?: number | undefined;
  readonly 'sse-customer-algorithm'?: string | undefined;
  readonly 'sse-customer-key'?: Secret | undefined;
  readonly 'sse-customer-key-path'?: string | undefined;
  readonly 'sse-kms-key-id'?: string | undefined;
}

export type S3Key = keyof S3Settings;
