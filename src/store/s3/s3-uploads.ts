import type { S3Location } from '../../config/s3-location.ts';
import { type RequestOptions, StoreError } from '../store.ts';
import { type RetryPolicy, withRetries } from '../wrap/retry-policy.ts';
import { oneHeader, type S3Connection, type TextAnswer } from './s3-connection.ts';
import { answerError, foreignAnswer, type S3Action } from './s3-errors.ts';
import { bodyDigest, keyHeaders } from './s3-headers.ts';
import { completionBody, readFault, readUploadId, readUploads, saysCompleted } from './s3-xml.ts';

/** Uploads in parts that were begun this long ago and not ended are nobody's any more. */
const ABANDONED_AFTER_MS = 24 * 60 * 60_000;
/** Tidying up after a failure or an abort takes no longer than this; what is left the next sweep finds. */
const CLEAN_UP_TIMEOUT_MS = 10_000;

export interface S3UploadsOptions {
  readonly connection: S3Connection;
  readonly location: S3Location;
  readonly retries: RetryPolicy;
  /** Which objects below the prefix are nobody else's, so that abandoned uploads of them may be removed. */
  readonly isOwnKey: (key: string) => boolean;
  /** To store the object of a key, for the messages. */
  readonly actionFor: (key: string) => S3Action;
}

/** The requests of uploads in parts. Each is tried again by itself: to send all parts again for one of them would be a pity. */
export class S3Uploads {
  readonly #connection: S3Connection;
  readonly #location: S3Location;
  readonly #retries: RetryPolicy;
  readonly #isOwnKey: (key: string) => boolean;
  readonly #action: (key: string) => S3Action;
  #swept = false;

  constructor({ connection, location, retries, isOwnKey, actionFor }: S3UploadsOptions) {
    this.#connection = connection;
    this.#location = location;
    this.#retries = retries;
    this.#isOwnKey = isOwnKey;
    this.#action = actionFor;
  }

  async begin(key: string, headers: Readonly<Record<string, string>>, options: RequestOptions): Promise<string> {
    const action = this.#action(key);
    const request = {
      method: 'POST',
      key: this.#location.keyPrefix + key,
      query: { uploads: '' },
      headers,
      action,
      options,
    } as const;
    const answer = await this.#retried(action, options, () => this.#connection.text(request));
    const uploadId = readUploadId(answer.body);
    if (uploadId === undefined) throw this.#foreign(action, answer);
    return uploadId;
  }

  async part(
    key: string,
    uploadId: string,
    number: number,
    bytes: Uint8Array,
    options: RequestOptions,
  ): Promise<string> {
    const action = this.#action(key);
    const digest = bodyDigest(this.#location, bytes);
    const answer = await this.#retried(action, options, () =>
      this.#connection.text({
        method: 'PUT',
        key: this.#location.keyPrefix + key,
        query: { partNumber: String(number), uploadId },
        headers: { ...digest, ...keyHeaders(this.#location) },
        body: bytes,
        action,
        options,
      }),
    );
    const etag = oneHeader(answer.headers.etag);
    if (etag) return etag;
    throw new StoreError('permanent', { message: `cannot ${action.what}: the server gives parts no ETag` });
  }

  async complete(
    key: string,
    uploadId: string,
    etags: readonly string[],
    condition: Readonly<Record<string, string>>,
    options: RequestOptions,
  ): Promise<TextAnswer> {
    const action = this.#action(key);
    const request = {
      method: 'POST',
      key: this.#location.keyPrefix + key,
      query: { uploadId },
      headers: { ...condition, 'Content-Type': 'application/xml', ...keyHeaders(this.#location) },
      body: completionBody(etags),
      action,
      options,
      isLong: true,
    } as const;
    const completed = await this.#retried(action, options, async () => {
      const answer = await this.#connection.text(request, [404]);
      if (answer.status === 404 || saysCompleted(answer.body)) return answer;
      // It may take so long that the server begins its answer, a 200, before it knows.
      throw readFault(answer.body)
        ? answerError(this.#connection.place, action, { ...this.#connection.described(answer), status: 500 })
        : this.#foreign(action, answer);
    });
    if (completed.status !== 404) return completed;
    // Ended by somebody else, or by an attempt whose answer was lost: to ask again would not change it.
    throw answerError(this.#connection.place, action, this.#connection.described(completed));
  }

  /** Removes the parts of an upload that came to nothing. Not to succeed is no reason to fail: the next sweep does it. */
  async abort(fullKey: string, uploadId: string, options: RequestOptions): Promise<void> {
    const action: S3Action = { what: `end the upload of ${fullKey}`, permission: 's3:AbortMultipartUpload' };
    const query = { uploadId };
    const request = { method: 'DELETE', key: fullKey, query, action, options: cleaningUp(options) } as const;
    await this.#connection.text(request, [404]).catch(() => undefined);
  }

  /** Parts of uploads that a killed process left behind cost money, and no listing shows them. */
  async sweep({ signal, onRequest }: RequestOptions): Promise<void> {
    const options = { signal, onRequest };
    if (this.#swept) return;
    this.#swept = true;
    const prefix = this.#location.keyPrefix;
    const action: S3Action = {
      what: `list uploads of s3://${this.#location.bucket}/${prefix}`,
      permission: 's3:ListBucketMultipartUploads',
    };
    const request = { method: 'GET', query: { uploads: '', prefix }, action, options } as const;
    const answer = await this.#connection.text(request, [400, 403, 404, 501]).catch(() => undefined);
    for (const upload of answer?.status === 200 ? readUploads(answer.body) : []) {
      const isOurs = upload.key.startsWith(prefix) && this.#isOwnKey(upload.key.slice(prefix.length));
      signal?.throwIfAborted();
      if (isOurs && Date.now() - upload.startedMs > ABANDONED_AFTER_MS)
        await this.abort(upload.key, upload.uploadId, options);
    }
  }

  #retried<T>(action: S3Action, options: RequestOptions, work: () => Promise<T>): Promise<T> {
    return withRetries(this.#retries, action.what, options.signal, work);
  }

  #foreign(action: S3Action, answer: TextAnswer): StoreError {
    return foreignAnswer(this.#connection.place, action, this.#connection.described(answer));
  }
}

/** For requests that tidy up: an abort ends them no more, time does. */
export function cleaningUp({ onRequest }: RequestOptions): RequestOptions {
  return { onRequest, signal: AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS) };
}
