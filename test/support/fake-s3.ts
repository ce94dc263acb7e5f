import { createHash, randomBytes } from 'node:crypto';
import { Secret } from '../../src/base/secret.ts';
import type { S3Location } from '../../src/config/s3-location.ts';
import {
  type Act,
  type Afterwards,
  type ReceivedRequest,
  type ScriptedAnswer,
  ScriptedServer,
  type ScriptedServerOptions,
  s3Error,
  XML,
} from './scripted-server.ts';
import { checkSignature, percentDecoded, queryOf, type SigningKey } from './signature.ts';
import { usesSecret } from './test-record.ts';
import { childrenOf, parseXml, textOfChild, type XmlElement, xmlElement, xmlText } from './xml.ts';

export const BUCKET = 'test-bucket';
export const KEY: SigningKey = {
  accessKeyId: 'AKIATESTKEY',
  secretAccessKey: 'se/cret+of=the-tests0123456789abcdefghij',
};
export const REGION = 'eu-test-1';

export type Operation =
  | 'list'
  | 'get'
  | 'head'
  | 'put'
  | 'delete'
  | 'delete-many'
  | 'create-upload'
  | 'put-part'
  | 'complete-upload'
  | 'abort-upload'
  | 'list-uploads';

/** The permission that each operation takes. */
export const PERMISSIONS: Readonly<Record<Operation, string>> = {
  list: 's3:ListBucket',
  get: 's3:GetObject',
  head: 's3:GetObject',
  put: 's3:PutObject',
  delete: 's3:DeleteObject',
  'delete-many': 's3:DeleteObject',
  'create-upload': 's3:PutObject',
  'put-part': 's3:PutObject',
  'complete-upload': 's3:PutObject',
  'abort-upload': 's3:AbortMultipartUpload',
  'list-uploads': 's3:ListBucketMultipartUploads',
};

export interface S3Call extends ReceivedRequest {
  readonly operation: Operation;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
}

export interface FakeS3Options extends ScriptedServerOptions {
  readonly region?: string | undefined;
  readonly keys?: readonly SigningKey[] | undefined;
  /** `BUCKET.suffix:port` is the host to be asked; default: the bucket is in the path. */
  readonly hostSuffix?: string | undefined;
  /** The first label of the host instead of the bucket's name: that of an access point. */
  readonly hostLabel?: string | undefined;
  readonly pageObjects?: number | undefined;
  readonly conditionalWrites?: 'decided' | 'refused' | 'ignored' | undefined;
  /** `missing`: 501, `forbidden-method`: 405. */
  readonly batchDelete?: 'works' | 'missing' | 'forbidden-method' | undefined;
  /** How it tells of a wrong region: AWS's two ways. */
  readonly wrongRegion?: 'malformed' | 'redirect' | undefined;
  /** How far its clock is ahead of this machine's. */
  readonly clockAheadMs?: number | undefined;
  readonly minPartBytes?: number | undefined;
  /** A header that every request must have. */
  readonly requiredHeader?: readonly [name: string, value: string] | undefined;
  /** Does something else with a call than what it asks for. */
  readonly instead?: ((call: S3Call) => Act | undefined | Promise<Act | undefined>) | undefined;
}

export interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modifiedMs: number;
  /** The headers that it was written with. */
  readonly headers: ReceivedRequest['headers'];
}

interface Upload {
  readonly key: string;
  readonly startedMs: number;
  readonly headers: ReceivedRequest['headers'];
  readonly parts: Map<number, StoredObject>;
}

/** One bucket of a store that behaves as Amazon's does today, in memory. Signatures are checked. */
export class FakeS3 {
  readonly objects = new Map<string, StoredObject>();
  readonly uploads = new Map<string, Upload>();
  readonly calls: S3Call[] = [];
  instead: FakeS3Options['instead'];
  readonly #options: FakeS3Options;
  #server: ScriptedServer | undefined;
  #sorted: readonly string[] | undefined;

  private constructor(options: FakeS3Options) {
    this.#options = options;
    this.instead = options.instead;
  }

  static async start(t: Afterwards, options: FakeS3Options = {}): Promise<FakeS3> {
    const fake = new FakeS3(options);
    fake.#server = await ScriptedServer.start(t, (request) => fake.#answer(request), options);
    return fake;
  }

  get server(): ScriptedServer {
    if (!this.#server) throw new Error('not started');
    return this.#server;
  }

  /** What a client is configured with to use it. */
  location(changes: Partial<S3Location> = {}): S3Location {
    const { hostSuffix, region = REGION, keys = [KEY] } = this.#options;
    const scheme = new URL(this.server.origin).protocol;
    return locationOf({
      endpoint: hostSuffix === undefined ? this.server.origin : `${scheme}//${hostSuffix}:${this.server.port}`,
      pathStyle: hostSuffix === undefined,
      region,
      credentials: keys[0] && credentialsFor(keys[0]),
      ...changes,
    });
  }

  operations(): Operation[] {
    return this.calls.map(({ operation }) => operation);
  }

  store(
    key: string,
    body: string | Uint8Array,
    headers: ReceivedRequest['headers'] = {},
    modifiedMs = Date.now(),
  ): void {
    const bytes = Buffer.from(body);
    this.objects.set(key, { bytes, etag: etagOf(bytes), modifiedMs, headers });
    this.#sorted = undefined;
  }

  async #answer(request: ReceivedRequest): Promise<Act> {
    const nowMs = Date.now() + (this.#options.clockAheadMs ?? 0);
    const answer = await this.#decide(request, nowMs);
    if (typeof answer === 'string') return answer;
    const isHead = request.method === 'HEAD';
    const headers = { Date: new Date(nowMs).toUTCString(), ...answer.headers };
    return {
      ...answer,
      headers,
      ...(isHead && { body: '', length: answer.length ?? Buffer.from(answer.body ?? '').length }),
    };
  }

  async #decide(request: ReceivedRequest, nowMs: number): Promise<Act> {
    const { region = REGION, keys = [KEY], requiredHeader, wrongRegion = 'malformed' } = this.#options;
    const fullPath = this.#pathInBucket(request);
    const query = new Map(queryOf(request.path));
    const key = percentDecoded(fullPath ?? '(of another bucket)').toString();
    const call: S3Call = { ...request, operation: operationOf(request.method, key, query), key, query };
    this.calls.push(call);
    const instead = await this.instead?.(call);
    if (instead) return instead;
    const fault = checkSignature(request, keys, region, nowMs);
    if (fault === 'AuthorizationHeaderMalformed') {
      const headers = { 'x-amz-bucket-region': region };
      if (wrongRegion === 'redirect') return s3Error(301, 'PermanentRedirect', { headers });
      return s3Error(400, fault, { fields: xmlElement('Region', region) });
    }
    if (fault) return s3Error(403, fault);
    if (fullPath === undefined) return s3Error(404, 'NoSuchBucket');
    if (requiredHeader && request.headers[requiredHeader[0].toLowerCase()] !== requiredHeader[1]) {
      return s3Error(400, 'InvalidRequest', { message: `${requiredHeader[0]} is missing` });
    }
    const digest = request.headers['content-md5'];
    if (digest !== undefined && digest !== md5(request.body).toString('base64')) return s3Error(400, 'BadDigest');
    return this.#perform(call);
  }

  #pathInBucket({ path, headers }: ReceivedRequest): string | undefined {
    const { hostSuffix, hostLabel = BUCKET } = this.#options;
    const [bare = ''] = path.split('?', 1);
    const host = headers.host ?? '';
    if (hostSuffix !== undefined) {
      return host === `${hostLabel}.${hostSuffix}:${this.server.port}` ? bare.slice(1) : undefined;
    }
    if (bare === `/${BUCKET}` || bare === `/${BUCKET}/`) return '';
    return bare.startsWith(`/${BUCKET}/`) ? bare.slice(BUCKET.length + 2) : undefined;
  }

  #perform(call: S3Call): ScriptedAnswer {
    switch (call.operation) {
      case 'list':
        return this.#list(call);
      case 'get':
      case 'head':
        return this.#get(call);
      case 'put':
        return this.#put(call);
      case 'delete':
        this.objects.delete(call.key);
        this.#sorted = undefined;
        return { status: 204 };
      case 'delete-many':
        return this.#deleteMany(call);
      case 'create-upload':
        return this.#createUpload(call);
      case 'put-part':
        return this.#putPart(call);
      case 'complete-upload':
        return this.#completeUpload(call);
      case 'abort-upload':
        return this.uploads.delete(call.query.get('uploadId') ?? '') ? { status: 204 } : s3Error(404, 'NoSuchUpload');
      case 'list-uploads':
        return this.#listUploads(call);
    }
  }

  // ---- Objects ----

  #list({ query }: S3Call): ScriptedAnswer {
    if (query.get('list-type') !== '2') return s3Error(400, 'InvalidArgument');
    const prefix = query.get('prefix') ?? '';
    const after = Buffer.from(query.get('continuation-token') ?? query.get('start-after') ?? '', 'utf8');
    this.#sorted ??= [...this.objects.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const isFirst = after.length === 0;
    const keys = this.#sorted.filter(
      (key) => key.startsWith(prefix) && (isFirst || Buffer.compare(Buffer.from(key), after) > 0),
    );
    const page = keys.slice(0, this.#options.pageObjects ?? 1000);
    const isUrl = query.get('encoding-type') === 'url';
    const written = (text: string): string => (isUrl ? formEncoded(text) : xmlText(text));
    const isTruncated = page.length < keys.length;
    return xmlAnswer(
      'ListBucketResult',
      xmlElement('Name', BUCKET),
      xmlElement('Prefix', written(prefix)),
      xmlElement('KeyCount', String(page.length)),
      ...(isUrl ? [xmlElement('EncodingType', 'url')] : []),
      xmlElement('IsTruncated', String(isTruncated)),
      ...(isTruncated ? [xmlElement('NextContinuationToken', xmlText(page.at(-1) ?? ''))] : []),
      ...page.map((key) => {
        const { bytes, etag, modifiedMs } = this.objects.get(key) ?? NO_OBJECT;
        return xmlElement(
          'Contents',
          xmlElement('Key', written(key)),
          xmlElement('LastModified', new Date(modifiedMs).toISOString()),
          xmlElement('ETag', xmlText(etag)),
          xmlElement('Size', String(bytes.length)),
          xmlElement('StorageClass', 'STANDARD'),
        );
      }),
    );
  }

  #get({ key, headers }: S3Call): ScriptedAnswer {
    const object = this.objects.get(key);
    if (!object) return s3Error(404, 'NoSuchKey');
    const wrongKey = customerKeyFault(object.headers, headers);
    if (wrongKey) return wrongKey;
    const { bytes, etag, modifiedMs } = object;
    const asked = headers['if-match'];
    if (asked !== undefined && asked !== etag) return s3Error(412, 'PreconditionFailed');
    const described = {
      ETag: etag,
      'Last-Modified': new Date(modifiedMs).toUTCString(),
      'Content-Type': 'application/octet-stream',
      'Accept-Ranges': 'bytes',
    };
    const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
    if (first === '') return { status: 200, headers: described, body: bytes };
    const start = Number(first);
    if (start >= bytes.length) return s3Error(416, 'InvalidRange');
    const end = last === '' ? bytes.length : Math.min(Number(last) + 1, bytes.length);
    const range = `bytes ${start}-${end - 1}/${bytes.length}`;
    return { status: 206, headers: { ...described, 'Content-Range': range }, body: bytes.subarray(start, end) };
  }

  #put({ key, headers, body }: S3Call): ScriptedAnswer {
    const refused = this.#conditionFault(key, headers);
    if (refused) return refused;
    this.store(key, body, headers);
    return { status: 200, headers: { ETag: etagOf(body) } };
  }

  #conditionFault(key: string, headers: ReceivedRequest['headers']): ScriptedAnswer | undefined {
    const { conditionalWrites = 'decided' } = this.#options;
    const isConditional = headers['if-none-match'] !== undefined || headers['if-match'] !== undefined;
    if (!isConditional || conditionalWrites === 'ignored') return undefined;
    if (conditionalWrites === 'refused') return s3Error(501, 'NotImplemented');
    const object = this.objects.get(key);
    if (headers['if-match'] !== undefined && !object) return s3Error(404, 'NoSuchKey');
    const fails = headers['if-none-match'] === '*' ? object !== undefined : headers['if-match'] !== object?.etag;
    return fails ? s3Error(412, 'PreconditionFailed') : undefined;
  }

  #deleteMany({ headers, body }: S3Call): ScriptedAnswer {
    const { batchDelete = 'works' } = this.#options;
    if (batchDelete !== 'works') return batchDelete === 'missing' ? s3Error(501, 'NotImplemented') : { status: 405 };
    if (headers['content-md5'] === undefined) {
      return s3Error(400, 'InvalidRequest', { message: 'Missing required header for this request: Content-MD5' });
    }
    let asked: readonly XmlElement[];
    try {
      asked = childrenOf(parseXml(body.toString()), 'Object');
    } catch {
      return s3Error(400, 'MalformedXML');
    }
    if (asked.length === 0 || asked.length > 1000) return s3Error(400, 'MalformedXML');
    const keys = asked.map((object) => textOfChild(object, 'Key'));
    for (const key of keys) this.objects.delete(key);
    this.#sorted = undefined;
    return xmlAnswer('DeleteResult', ...keys.map((key) => xmlElement('Deleted', xmlElement('Key', xmlText(key)))));
  }

  // ---- Uploads in parts ----

  #createUpload({ key, headers }: S3Call): ScriptedAnswer {
    const id = `${randomBytes(6).toString('base64')}+/=`;
    this.uploads.set(id, { key, headers, startedMs: Date.now(), parts: new Map() });
    return xmlAnswer(
      'InitiateMultipartUploadResult',
      xmlElement('Bucket', BUCKET),
      xmlElement('Key', xmlText(key)),
      xmlElement('UploadId', id),
    );
  }

  #putPart({ key, query, headers, body }: S3Call): ScriptedAnswer {
    const upload = this.uploads.get(query.get('uploadId') ?? '');
    if (upload?.key !== key) return s3Error(404, 'NoSuchUpload');
    const number = Number(query.get('partNumber'));
    if (!(number >= 1 && number <= 10_000)) return s3Error(400, 'InvalidArgument');
    for (const name of ['x-amz-server-side-encryption', 'x-amz-storage-class']) {
      if (headers[name] !== undefined)
        return s3Error(400, 'InvalidArgument', { message: `${name} belongs to the start` });
    }
    const wrongKey = customerKeyFault(upload.headers, headers);
    if (wrongKey) return wrongKey;
    upload.parts.set(number, { bytes: body, etag: etagOf(body), modifiedMs: 0, headers });
    return { status: 200, headers: { ETag: etagOf(body) } };
  }

  #completeUpload({ key, query, headers, body }: S3Call): ScriptedAnswer {
    const id = query.get('uploadId') ?? '';
    const upload = this.uploads.get(id);
    if (upload?.key !== key) return s3Error(404, 'NoSuchUpload');
    if (headers['x-amz-server-side-encryption'] !== undefined) return s3Error(400, 'InvalidArgument');
    const refused = this.#conditionFault(key, headers);
    if (refused) return refused;
    const named = childrenOf(parseXml(body.toString()), 'Part');
    const parts: StoredObject[] = [];
    for (const [index, element] of named.entries()) {
      const part = upload.parts.get(index + 1);
      if (!part || textOfChild(element, 'PartNumber') !== String(index + 1)) return s3Error(400, 'InvalidPartOrder');
      if (textOfChild(element, 'ETag') !== part.etag) return s3Error(400, 'InvalidPart');
      const isLast = index === named.length - 1;
      if (!isLast && part.bytes.length < (this.#options.minPartBytes ?? 5 << 20)) return s3Error(400, 'EntityTooSmall');
      parts.push(part);
    }
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    this.store(key, bytes, upload.headers);
    this.uploads.delete(id);
    const etag = etagOf(bytes);
    return xmlAnswer(
      'CompleteMultipartUploadResult',
      xmlElement('Key', xmlText(key)),
      xmlElement('ETag', xmlText(etag)),
    );
  }

  #listUploads({ query }: S3Call): ScriptedAnswer {
    const prefix = query.get('prefix') ?? '';
    const uploads = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix));
    return xmlAnswer(
      'ListMultipartUploadsResult',
      xmlElement('IsTruncated', 'false'),
      ...uploads.map(([id, { key, startedMs }]) =>
        xmlElement(
          'Upload',
          xmlElement('Key', query.get('encoding-type') === 'url' ? formEncoded(key) : xmlText(key)),
          xmlElement('UploadId', id),
          xmlElement('Initiated', new Date(startedMs).toISOString()),
        ),
      ),
    );
  }
}

const NO_OBJECT: StoredObject = { bytes: Buffer.alloc(0), etag: '', modifiedMs: 0, headers: {} };

function operationOf(method: string, key: string, query: ReadonlyMap<string, string>): Operation {
  const isUpload = query.has('uploadId');
  switch (`${method}${key === '' ? ' bucket' : ''}`) {
    case 'GET bucket':
      return query.has('uploads') ? 'list-uploads' : 'list';
    case 'POST bucket':
      return 'delete-many';
    case 'GET':
      return 'get';
    case 'HEAD':
      return 'head';
    case 'PUT':
      return isUpload ? 'put-part' : 'put';
    case 'DELETE':
      return isUpload ? 'abort-upload' : 'delete';
    case 'POST':
      return isUpload ? 'complete-upload' : 'create-upload';
    default:
      throw new Error(`no operation of S3: ${method} ${key}`);
  }
}

const CUSTOMER_KEY = 'x-amz-server-side-encryption-customer-key';

/** What S3 says of a key of the customer's that is missing, wrong, or not wanted. */
function customerKeyFault(
  written: ReceivedRequest['headers'],
  asked: ReceivedRequest['headers'],
): ScriptedAnswer | undefined {
  const key = asked[CUSTOMER_KEY];
  if (written[CUSTOMER_KEY] === undefined) return key === undefined ? undefined : s3Error(400, 'InvalidRequest');
  if (key === undefined) {
    const message = 'The object was stored using a form of Server Side Encryption.';
    return s3Error(400, 'InvalidRequest', { message });
  }
  const isWhole =
    asked['x-amz-server-side-encryption-customer-algorithm'] === 'AES256' &&
    asked[`${CUSTOMER_KEY}-md5`] === md5(Buffer.from(String(key), 'base64')).toString('base64');
  if (!isWhole) return s3Error(400, 'InvalidArgument');
  return key === written[CUSTOMER_KEY] ? undefined : s3Error(403, 'AccessDenied');
}

function xmlAnswer(name: string, ...contents: readonly string[]): ScriptedAnswer {
  const xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<${name} ${xmlns}>${contents.join('')}</${name}>`;
  return { status: 200, headers: XML, body };
}

/** `encoding-type=url` as Amazon's writes it: slashes stay, a space is a plus sign. */
export function formEncoded(text: string): string {
  return Array.from(Buffer.from(text), (byte) => {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9\-._*/]/.test(char)) return char;
    return char === ' ' ? '+' : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}

function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

function etagOf(bytes: Uint8Array): string {
  return `"${md5(bytes).toString('hex')}"`;
}

export function credentialsFor(key: SigningKey): S3Location['credentials'] {
  return {
    accessKeyId: key.accessKeyId,
    secretAccessKey: new Secret(usesSecret(key.secretAccessKey)),
    sessionToken: key.sessionToken === undefined ? undefined : new Secret(key.sessionToken),
  };
}

/** A bucket with path style and small parts; what matters to a test is in `changes`. */
export function locationOf(changes: Partial<S3Location>): S3Location {
  return {
    type: 's3',
    url: `s3://${BUCKET}/app`,
    bucket: BUCKET,
    keyPrefix: 'app/',
    endpoint: undefined,
    region: REGION,
    pathStyle: true,
    credentials: credentialsFor(KEY),
    signPayload: true,
    contentMd5: true,
    skipVerify: false,
    rootCas: [],
    storageClass: undefined,
    encryption: undefined,
    partSizeBytes: 5 << 20,
    concurrency: 4,
    headers: {},
    ...changes,
  };
}
