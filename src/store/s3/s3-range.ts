import type { IncomingMessage } from 'node:http';
import { StoreError } from '../store.ts';
import type { S3Action } from './s3-errors.ts';

/** What of an object is in an answer to the request for its bytes from some offset on. */
interface AnswerBytes {
  /** How many; undefined: the answer does not say. */
  readonly expectedBytes: number | undefined;
  /** The object ends before the offset. */
  readonly skipsAll: boolean;
}

/** Throws when the bytes in the answer do not begin at `offset`: they would be taken for others. */
export function bytesOfAnswer(response: IncomingMessage, offset: number, action: S3Action): AnswerBytes {
  const { headers, statusCode } = response;
  const length = headers['content-length'];
  const expectedBytes = length === undefined ? undefined : Number(length);
  if (statusCode !== 206) {
    if (offset === 0 || expectedBytes === 0) return { expectedBytes, skipsAll: offset > 0 };
    throw new StoreError('permanent', { message: `cannot ${action.what}: the server does not give ranges of objects` });
  }
  const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(headers['content-range'] ?? '') ?? [];
  if (first === undefined || Number(first) !== offset) {
    const given = headers['content-range'] ?? 'no Content-Range';
    throw new StoreError('permanent', {
      message: `cannot ${action.what}: the server gave other bytes than those asked for (from ${offset} on): ${given}`,
    });
  }
  return { expectedBytes: expectedBytes ?? Number(last) + 1 - offset, skipsAll: false };
}
