import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { LookupFunction } from 'node:net';
import { sleep } from '../../base/async.ts';
import type { S3Location } from '../../config/s3-location.ts';
import { checkKey, checkPrefix, compareKeys } from '../object-key.ts';
import {
  type DeleteResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  type Store,
  StoreError,
} from '../store.ts';
import { DEFAULT_RETRY_POLICY, type RetryPolicy } from '../wrap/retry-policy.ts';
import { ConditionalWrites } from './conditional-writes.ts';
import { oneHeader, S3Connection, type TextAnswer } from './s3-connection.ts';
import { type CredentialsSource, credentialsOf } from './s3-credentials.ts';
import { answerError, foreignAnswer, type S3Action } from './s3-errors.ts';
import { bodyDigest, keyHeaders, md5, writeHeaders } from './s3-headers.ts';
import { bytesOfAnswer } from './s3-range.ts';
import { NOTHING, S3Reader } from './s3-reader.ts';
import { type BodySource, openBody, partSizeFor, sendParts } from './s3-upload.ts';
import { cleaningUp, S3Uploads } from './s3-uploads.ts';
import { deleteBody, isInXml, readDeleteResult, readFault, readListPage, type S3Fault } from './s3-xml.ts';

/** What one request deletes at most. */
const MAX_DELETE_KEYS = 1000;
/** Where the store has no batch delete, keys are deleted one by one, this many at a time. */
const SINGLE_DELETES = 8;
/** Metadata under which Litestream keeps the time of an object's data. */
const TIMESTAMP_HEADER = 'X-Amz-Meta-Litestream-Timestamp';
/**
 * Swift orders writes of one key by its clocks, answers 200 to one that came too late as well, and leaves it out: the ETag is
 * missing then, and the write is made again after these pauses.
 */
const OVERTAKEN_PAUSES_MS = [10, 30, 100, 300, 1000];
const UNCHANGED = 'what was stored before is unchanged';

export interface S3StoreOptions {
  /** Default: from the location, the environment, or AWS's default chain. */
  readonly credentials?: CredentialsSource | undefined;
  /** Connections at a time; default 32. */
  readonly maxConnections?: number | undefined;
  /** A server that says nothing for this long is given up; default 30 s. */
  readonly idleTimeoutMs?: number | undefined;
  /** How the parts of a large object are tried again; everything else is made once. */
  readonly partRetries?: RetryPolicy | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Which objects below the prefix are nobody else's, so that abandoned uploads of them may be removed; default: none. */
  readonly isOwnKey?: ((key: string) => boolean) | undefined;
  /** Finds the addresses of host names; default: the system does. */
  readonly lookup?: LookupFunction | undefined;
}

/**
 * Objects in a bucket of Amazon S3 or of a store that speaks its protocol, each under the location's prefix.
 *
 * A put of less than a part is one request. A larger one is sent in parts, which become an object in one step; when it
 * fails they are removed. Whether the store decides conditional writes is tried once, at the first create: some ignore the
 * condition, some refuse it.
 */
export class S3Store implements Store {
  readonly url: string;
  readonly #location: S3Location;
  readonly #connection: S3Connection;
  readonly #uploads: S3Uploads;
  readonly #conditional: ConditionalWrites;

  constructor(location: S3Location, options: S3StoreOptions = {}) {
    this.url = location.url;
    this.#location = location;
    this.#connection = new S3Connection({
      location,
      credentials: options.credentials ?? credentialsOf(location, options.env),
      maxConnections: options.maxConnections ?? 32,
      idleTimeoutMs: options.idleTimeoutMs,
      env: options.env,
      lookup: options.lookup,
    });
    this.#uploads = new S3Uploads({
      connection: this.#connection,
      location,
      retries: options.partRetries ?? DEFAULT_RETRY_POLICY,
      isOwnKey: options.isOwnKey ?? (() => false),
      actionFor: (key) => this.#action('store', key),
    });
    this.#conditional = new ConditionalWrites((key, headers, requestOptions) => {
      const body = Buffer.from('Rivulet looks whether conditional writes work here.\n');
      return this.#putWhole(
        key,
        body,
        { ...headers, ...writeHeaders(this.#location) },
        requestOptions,
        [304, 412, 501],
      );
    });
  }

  /** Whether the store itself decides creates, so that of several creators one wins. Tried out at the first call. */
  conditionalWrites(options: RequestOptions = {}): Promise<boolean> {
    const key = `rivulet.probe-${randomBytes(6).toString('hex')}`;
    return this.#conditional.work(key, options, async () => {
      await this.delete([key], cleaningUp(options)).catch(() => undefined); // litter is no reason to fail
    });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    const action: S3Action = { what: `list ${this.#name(prefix)}`, permission: 's3:ListBucket' };
    let token: string | undefined;
    let previous: string | undefined;
    do {
      const query = this.#listQuery(prefix, options.startAfter, token);
      const answer = await this.#connection.text({ method: 'GET', query, action, options });
      const page = readListPage(answer.body);
      if (!page) throw this.#foreign(action, answer);
      for (const { key, sizeBytes, modifiedMs } of page.objects) {
        options.signal?.throwIfAborted();
        const name = this.#ownKey(key, prefix);
        if (previous !== undefined && compareKeys(previous, name) >= 0) throw disordered(action, previous, name);
        previous = name;
        // Not every store knows start-after.
        if (options.startAfter !== undefined && compareKeys(name, options.startAfter) <= 0) continue;
        // Consoles make empty objects with a slash at the end, and call them folders.
        if (name !== '' && !name.endsWith('/')) yield { key: name, sizeBytes, modifiedMs };
      }
      if (page.next !== undefined && page.next === token) throw repeated(action);
      token = page.next;
    } while (token !== undefined);
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    checkKey(key);
    checkRange(options);
    const { offset = 0, length, version } = options;
    options.signal?.throwIfAborted();
    // No range says "nothing": ask for a byte, and whether the object is there is known.
    const last = length === undefined ? '' : offset + Math.max(length, 1) - 1;
    const isWhole = offset === 0 && length === undefined;
    const action = this.#action('read', key);
    const answer = await this.#connection.open(
      {
        method: 'GET',
        key: this.#fullKey(key),
        headers: {
          ...(!isWhole && { Range: `bytes=${offset}-${last}` }),
          // A weak ETag matches nothing, not even itself: it is compared here alone.
          ...(version !== undefined && !version.startsWith('W/') && { 'If-Match': version }),
          ...keyHeaders(this.#location),
        },
        action,
        options,
      },
      [412, 416],
    );
    const { response } = answer;
    const status = response.statusCode ?? 0;
    try {
      if (status === 412) throw replaced(action);
      if (status !== 416) this.#checkIsObject(action, response, version);
      if (status === 416 || length === 0) {
        response.destroy();
        return NOTHING;
      }
      const { expectedBytes, skipsAll } = bytesOfAnswer(response, offset, action);
      if (skipsAll) {
        response.destroy();
        return NOTHING;
      }
      const { signal } = options;
      const { place } = this.#connection;
      return new S3Reader({ answer, place, action, signal, expectedBytes, limitBytes: length });
    } catch (error) {
      response.destroy();
      throw error;
    }
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    checkKey(key);
    options.signal?.throwIfAborted();
    const isConditional = options.ifAbsent === true && (await this.#mayCreate(key, options));
    const source = await openBody(body);
    try {
      const { sizeBytes } = source;
      const partSizeBytes = partSizeFor(sizeBytes, this.#location.partSizeBytes);
      const headers = {
        ...writeHeaders(this.#location),
        ...(options.timestampMs !== undefined && { [TIMESTAMP_HEADER]: timestampText(options.timestampMs) }),
      };
      const condition = isConditional ? { 'If-None-Match': '*' } : {};
      const answer =
        sizeBytes <= partSizeBytes
          ? await this.#putWhole(key, await source.read(0, sizeBytes), { ...headers, ...condition }, options)
          : await this.#putInParts(key, source, partSizeBytes, headers, condition, options);
      const dateMs = Date.parse(answer.headers.date ?? '');
      return { key, sizeBytes, modifiedMs: Number.isNaN(dateMs) ? Date.now() : dateMs };
    } finally {
      await source.close();
    }
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    const answers = new Map<string, StoreError | undefined>();
    const asked: string[] = [];
    for (const key of new Set(keys)) {
      try {
        checkKey(key);
        asked.push(key);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        answers.set(key, error);
      }
    }
    // One key alone goes without XML: what may be deleted can then be limited to it also where a batch is checked as a whole.
    const isBatch = asked.length > 1;
    const inBatches = asked.filter((key) => isBatch && isInXml(this.#fullKey(key)));
    const singly = asked.filter((key) => !isBatch || !isInXml(this.#fullKey(key)));
    for (let at = 0; at < inBatches.length; at += MAX_DELETE_KEYS) {
      options.signal?.throwIfAborted();
      const batch = inBatches.slice(at, at + MAX_DELETE_KEYS);
      for (const [key, error] of await this.#deleteBatch(batch, options)) answers.set(key, error);
    }
    for (const [key, error] of await this.#deleteSingly(singly, options)) answers.set(key, error);
    return keys.map((key) => ({ key, error: answers.get(key) }));
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  // ---- Keys ----

  #fullKey(key: string): string {
    return this.#location.keyPrefix + key;
  }

  /** The key below this store's root. */
  #ownKey(fullKey: string, prefix: string): string {
    const { keyPrefix } = this.#location;
    if (fullKey.startsWith(keyPrefix + prefix)) return fullKey.slice(keyPrefix.length);
    throw new StoreError('permanent', {
      message: `cannot list ${this.#name(prefix)}: the server answered with the key ${JSON.stringify(fullKey)}, which was not asked for`,
    });
  }

  #name(key: string): string {
    return `s3://${this.#location.bucket}/${this.#fullKey(key)}`;
  }

  #action(verb: 'read' | 'store' | 'delete', key: string): S3Action {
    const what = `${verb} ${this.#name(key)}`;
    if (verb === 'read') return { what, permission: 's3:GetObject', mayBeMissing: true };
    if (verb === 'store') return { what, permission: 's3:PutObject', kept: UNCHANGED };
    return { what, permission: 's3:DeleteObject', kept: 'it is still stored' };
  }

  // ---- Reading ----

  #listQuery(prefix: string, startAfter: string | undefined, token: string | undefined): Record<string, string> {
    return {
      'list-type': '2',
      prefix: this.#fullKey(prefix),
      'encoding-type': 'url',
      ...(startAfter !== undefined && token === undefined && { 'start-after': this.#fullKey(startAfter) }),
      ...(token !== undefined && { 'continuation-token': token }),
    };
  }

  #foreign(action: S3Action, answer: TextAnswer): StoreError {
    return foreignAnswer(this.#connection.place, action, this.#connection.described(answer));
  }

  /** S3 names the version of each object it gives; a web page comes without, or is not the version asked for. */
  #checkIsObject(action: S3Action, { statusCode = 0, headers }: IncomingMessage, version: string | undefined): void {
    if (headers.etag === undefined) throw this.#foreign(action, { status: statusCode, headers, body: '' });
    if (version !== undefined && headers.etag !== version) throw replaced(action);
  }

  // ---- Writing ----

  /** Before a create. True: the store decides it. False: it cannot, and there was nothing a moment ago. */
  async #mayCreate(key: string, options: PutOptions): Promise<boolean> {
    if (await this.conditionalWrites(options)) return true;
    if (await this.#exists(key, options)) throw existsAlready(this.#action('store', key));
    return false;
  }

  async #exists(key: string, options: RequestOptions): Promise<boolean> {
    const headers = keyHeaders(this.#location);
    const action = this.#action('read', key);
    const { status } = await this.#connection.text(
      { method: 'HEAD', key: this.#fullKey(key), headers, action, options },
      [404],
    );
    return status !== 404;
  }

  async #putWhole(
    key: string,
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    options: RequestOptions,
    accept: readonly number[] = [],
  ): Promise<TextAnswer> {
    const digest = bodyDigest(this.#location, body);
    const action = this.#action('store', key);
    const request = {
      method: 'PUT',
      key: this.#fullKey(key),
      headers: { ...headers, ...digest },
      body,
      action,
      options,
    } as const;
    for (const pauseMs of [...OVERTAKEN_PAUSES_MS, undefined]) {
      const answer = await this.#connection.text(request, accept);
      if (answer.status >= 300 || oneHeader(answer.headers.etag)) return answer;
      // The page of a portal is a 200, too: only what S3 stored has an ETag.
      if (this.#connection.described(answer).requestId === undefined) throw this.#foreign(action, answer);
      if (pauseMs !== undefined) await sleep(pauseMs * (1 + Math.random()), options.signal);
      options.signal?.throwIfAborted();
    }
    throw new StoreError('transient', {
      message: `cannot ${action.what}: the store takes it for older than what is there`,
      ...(action.kept && { kept: action.kept }),
    });
  }

  async #putInParts(
    key: string,
    source: BodySource,
    partSizeBytes: number,
    headers: Readonly<Record<string, string>>,
    condition: Readonly<Record<string, string>>,
    options: PutOptions,
  ): Promise<TextAnswer> {
    await this.#uploads.sweep(options);
    // Not every store that decides the condition for a whole object does so for one in parts.
    if (options.ifAbsent && (await this.#exists(key, options))) throw existsAlready(this.#action('store', key));
    const uploadId = await this.#uploads.begin(key, headers, options);
    try {
      const { concurrency } = this.#location;
      const etags = await sendParts(
        source,
        { partSizeBytes, concurrency, signal: options.signal },
        (number, bytes, signal) => this.#uploads.part(key, uploadId, number, bytes, { ...options, signal }),
      );
      if (options.ifAbsent && (await this.#exists(key, options))) throw existsAlready(this.#action('store', key));
      return await this.#uploads.complete(key, uploadId, etags, condition, options);
    } catch (error) {
      await this.#uploads.abort(this.#fullKey(key), uploadId, options);
      throw error;
    }
  }

  // ---- Deleting ----

  async #deleteBatch(
    keys: readonly string[],
    options: RequestOptions,
  ): Promise<ReadonlyMap<string, StoreError | undefined>> {
    const [first = ''] = keys;
    const action: S3Action =
      keys.length === 1
        ? this.#action('delete', first)
        : {
            what: `delete ${keys.length} objects of ${this.url}`,
            permission: 's3:DeleteObject',
            kept: 'they are still stored',
          };
    const body = deleteBody(keys.map((key) => this.#fullKey(key)));
    const answer = await this.#connection.text(
      {
        method: 'POST',
        query: { delete: '' },
        headers: {
          'Content-Type': 'application/xml',
          ...(this.#location.contentMd5 && { 'Content-MD5': md5(body) }),
        },
        body,
        action,
        options,
        isLong: keys.length > 1,
      },
      [405, 501],
    );
    if (answer.status >= 400) return this.#deleteSingly(keys, options);
    const results = readDeleteResult(answer.body);
    if (!results) throw this.#foreign(action, answer);
    return new Map(keys.map((key) => [key, this.#deleteError(key, answer, results.get(this.#fullKey(key)))]));
  }

  #deleteError(key: string, answer: TextAnswer, result: S3Fault | 'deleted' | undefined): StoreError | undefined {
    if (result === 'deleted') return undefined;
    const action = this.#action('delete', key);
    if (result === undefined) {
      return new StoreError('transient', {
        message: `cannot ${action.what}: the server did not say what became of it`,
      });
    }
    if (result.code === 'NoSuchKey') return undefined;
    return answerError(this.#connection.place, action, this.#connection.described(answer), result);
  }

  async #deleteSingly(
    keys: readonly string[],
    options: RequestOptions,
  ): Promise<ReadonlyMap<string, StoreError | undefined>> {
    const results = new Map<string, StoreError | undefined>();
    const work = [...keys];
    const runner = async (): Promise<void> => {
      for (let key = work.pop(); key !== undefined; key = work.pop()) {
        const action = this.#action('delete', key);
        try {
          await this.#deleteOne(key, action, options);
          results.set(key, undefined);
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          results.set(key, error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(SINGLE_DELETES, keys.length) }, runner));
    return results;
  }

  async #deleteOne(key: string, action: S3Action, options: RequestOptions): Promise<void> {
    const request = { method: 'DELETE', key: this.#fullKey(key), action, options } as const;
    const answer = await this.#connection.text(request, [404]);
    // Neither the page of a portal nor a bucket that is not there is a deleted object.
    if (answer.body.trim() === '' || readFault(answer.body)?.code === 'NoSuchKey') return;
    if (answer.status === 404) throw answerError(this.#connection.place, action, this.#connection.described(answer));
    throw this.#foreign(action, answer);
  }
}

function repeated({ what }: S3Action): StoreError {
  return new StoreError('permanent', { message: `cannot ${what}: the server gives the same page again and again` });
}

function disordered({ what }: S3Action, previous: string, key: string): StoreError {
  return new StoreError('permanent', {
    message: `cannot ${what}: the server lists ${JSON.stringify(key)} after ${JSON.stringify(previous)}, and so not in order or not completely`,
    next: 'use a bucket of a kind that lists its keys in order (directory buckets of S3 Express do not)',
  });
}

function existsAlready(action: S3Action): StoreError {
  return new StoreError('exists', {
    message: `cannot ${action.what}: there is an object already`,
    kept: 'what is there was not touched',
  });
}

function replaced(action: S3Action): StoreError {
  return new StoreError('permanent', { message: `cannot ${action.what}: it was replaced while it was read` });
}

function checkRange(options: OpenOptions): void {
  for (const value of [options.offset ?? 0, options.length ?? 0]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a range of bytes: ${value}`);
  }
}

/** RFC 3339 in UTC, without trailing zeros, as Litestream writes it. */
function timestampText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0*Z$/, 'Z');
}
