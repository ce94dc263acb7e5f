import { hasCode, messageOf } from '../../base/errors.ts';
import { StoreError, type StoreErrorKind } from '../store.ts';
import { readFault, type S3Fault } from './s3-xml.ts';

/** What was asked when something went wrong, for the messages. */
export interface S3Action {
  /** `cannot` comes before it: `store s3://bucket/app/0000/….ltx`. */
  readonly what: string;
  /** The permission that this takes: `s3:PutObject`. */
  readonly permission: string;
  /** It is about one object, and that there is none is an answer. To anything else, "not found" is no answer of S3's. */
  readonly mayBeMissing?: true | undefined;
  /** What is safe all the same. */
  readonly kept?: string | undefined;
}

/** Where it was asked, for the messages. */
export interface S3Place {
  readonly bucket: string;
  /** `https://host:port`. */
  readonly origin: string;
  readonly region: string;
  /** Its credentials, as far as they may be named. */
  readonly accessKeyId: string;
}

/** A failed answer of the server. */
export interface S3Answer {
  readonly status: number;
  readonly body: string;
  readonly requestId: string | undefined;
  /** What the server says of when to come back, ms. */
  readonly retryAfterMs: number | undefined;
  /** The server's clock, ms since 1970, when it answered. */
  readonly serverMs: number | undefined;
  /** The region that the server names. */
  readonly region: string | undefined;
  readonly contentType: string | undefined;
}

/** A store that is asked to slow down, and does not say for how long, is left alone for this long at least. */
const SLOW_DOWN_MS = 1000;

/** What of the settings a server may not like, or may miss. */
const REFUSED_NEXT =
  'check what the configuration asks of the store: encryption (sse-…: its keys, and https for them), storage-class, region';

interface Reading {
  readonly kind: StoreErrorKind;
  /** What it means, in words; the server's own follow. */
  readonly words: string;
  readonly next?: string;
  readonly slowDown?: true;
  /** What is not permitted. */
  readonly permission?: string;
}

type Reader = (place: S3Place, action: S3Action, answer: S3Answer) => Reading;

const wrongKey: Reader = ({ accessKeyId }) => ({
  kind: 'denied',
  words: `the access key ${accessKeyId} is not known there`,
  next: 'check access-key-id (or AWS_ACCESS_KEY_ID), and that the endpoint is the one that the key belongs to',
});

const wrongToken: Reader = () => ({
  kind: 'denied',
  words: 'the session token is not valid, or not any more',
  next: 'get new temporary credentials (AWS_SESSION_TOKEN)',
});

const denied: Reader = ({ accessKeyId }, { permission, mayBeMissing }) => ({
  kind: 'denied',
  words: `access is denied to ${accessKeyId}`,
  next: `allow ${permission} for it in the policy of the user or the bucket${
    mayBeMissing ? ' (and s3:ListBucket: without that, what is not there is called denied)' : ''
  }`,
  permission,
});

const missing: Reader = (_, { mayBeMissing }) => ({
  kind: mayBeMissing ? 'not-found' : 'permanent',
  words: mayBeMissing ? 'it is not there' : 'the server says that what was asked for is not there',
});

const skewed: Reader = (_, __, { serverMs }) => ({
  kind: 'denied',
  words: `the clock of this machine is wrong${serverMs === undefined ? '' : ` (${skewWords(Date.now() - serverMs)})`}`,
  next: 'set the clock (is a time service running?)',
});

const otherRegion: Reader = ({ region }, _, answer) => {
  const right = answer.region ?? readFault(answer.body)?.region;
  return {
    kind: 'permanent',
    words: right ? `the bucket is in region ${right}, not ${region}` : `region ${region} is not the one of the bucket`,
    next: right ? `set region: ${right}` : 'set region (and endpoint) to those of the bucket',
  };
};

const passing: Reader = () => ({ kind: 'transient', words: 'the server failed' });
const busy: Reader = () => ({ kind: 'transient', words: 'the server asks to slow down', slowDown: true });

const CODES: Readonly<Record<string, Reader>> = {
  InvalidAccessKeyId: wrongKey,
  SignatureDoesNotMatch: ({ accessKeyId }) => ({
    kind: 'denied',
    words: `the secret access key does not belong to ${accessKeyId}`,
    next: 'check secret-access-key (or AWS_SECRET_ACCESS_KEY)',
  }),
  AccessDenied: denied,
  AllAccessDisabled: denied,
  AccountProblem: denied,
  InvalidToken: wrongToken,
  ExpiredToken: wrongToken,
  TokenRefreshRequired: wrongToken,
  RequestTimeTooSkewed: skewed,
  RequestExpired: skewed,
  NoSuchBucket: ({ bucket, origin }) => ({
    kind: 'permanent',
    words: `there is no bucket ${bucket} at ${origin}`,
    next: 'create it, or check bucket and endpoint',
  }),
  InvalidBucketName: ({ bucket }) => ({
    kind: 'permanent',
    words: `${bucket} cannot be the name of a bucket`,
    next: 'check bucket',
  }),
  NoSuchKey: missing,
  NoSuchUpload: () => ({ kind: 'transient', words: 'the upload was ended by somebody else' }),
  PreconditionFailed: () => ({ kind: 'exists', words: 'there is an object already' }),
  ConditionalRequestConflict: () => ({ kind: 'transient', words: 'another request wrote the same key' }),
  OperationAborted: () => ({ kind: 'transient', words: 'another request was under way' }),
  PermanentRedirect: otherRegion,
  TemporaryRedirect: otherRegion,
  AuthorizationHeaderMalformed: otherRegion,
  IllegalLocationConstraintException: otherRegion,
  SlowDown: busy,
  SlowDownRead: busy,
  SlowDownWrite: busy,
  ServiceUnavailable: busy,
  Throttling: busy,
  ThrottlingException: busy,
  TooManyRequests: busy,
  RequestLimitExceeded: busy,
  InternalError: passing,
  RequestTimeout: () => ({ kind: 'transient', words: 'the server did not get the request in time' }),
  BadDigest: () => ({ kind: 'transient', words: 'what arrived there was not what was sent' }),
  XAmzContentSHA256Mismatch: () => ({ kind: 'transient', words: 'what arrived there was not what was sent' }),
  IncompleteBody: () => ({ kind: 'transient', words: 'not all that was sent arrived there' }),
  QuotaExceeded: full,
  XMinioStorageFull: full,
  StorageFull: full,
  InsufficientStorage: full,
  EntityTooLarge: () => ({
    kind: 'permanent',
    words: 'the object is too large for the store',
    next: 'set a smaller part-size, so that it is sent in parts',
  }),
  NotImplemented: () => ({ kind: 'permanent', words: 'the store does not know this request' }),
};

function full({ bucket }: S3Place): Reading {
  return { kind: 'full', words: 'no space is left there', next: `raise the quota of ${bucket}, or free some space` };
}

/** What a status means where no known code comes with it. */
function readStatus(place: S3Place, action: S3Action, answer: S3Answer): Reading {
  const { status } = answer;
  if (status === 301 || status === 307 || status === 308) return otherRegion(place, action, answer);
  if (status === 401 || status === 403) return denied(place, action, answer);
  if (status === 404) return missing(place, action, answer);
  // 304: older MinIO servers.
  if (status === 412 || status === 304) return { kind: 'exists', words: 'there is an object already' };
  if (status === 507) return full(place);
  if (status === 429 || status === 503) return busy(place, action, answer);
  if (status === 408 || status >= 500) return passing(place, action, answer);
  if (status === 400) return { kind: 'permanent', words: 'the server refused', next: REFUSED_NEXT };
  return { kind: 'permanent', words: 'the server refused' };
}

/** The error for an answer that is not the one hoped for, or for the part of one that tells of this fault. */
export function answerError(
  place: S3Place,
  action: S3Action,
  answer: S3Answer,
  fault: S3Fault | undefined = readFault(answer.body),
): StoreError {
  if (!fault && isForeign(answer)) return foreignAnswer(place, action, answer);
  const reader = (fault && CODES[fault.code]) ?? readStatus;
  const reading = reader(place, action, answer);
  const { kind, words, next } = reading;
  const retryAfterMs = answer.retryAfterMs ?? (reading.slowDown ? SLOW_DOWN_MS : undefined);
  const told = `${fault ? `${fault.code}, ` : ''}HTTP ${answer.status}${answer.requestId ? `, request ${answer.requestId}` : ''}`;
  const detail = fault?.message && !(fault.code in CODES) ? `: ${oneLine(fault.message)}` : '';
  return new StoreError(
    kind,
    {
      message: `cannot ${action.what}: ${words} (${told})${detail}`,
      ...(action.kept && { kept: action.kept }),
      ...(next && { next }),
    },
    { retryAfterMs, permission: reading.permission },
  );
}

/**
 * A 503 of a balancer in front of the store passes, whatever it says. A 404 of one must not be read as "nothing was ever
 * stored": S3 says what is missing, or at least numbers its answers.
 */
function isForeign({ status, body, requestId }: S3Answer): boolean {
  if (status >= 500 || status === 429) return false;
  return body.trim() !== '' || (status === 404 && requestId === undefined);
}

/** Something answered that is not an S3 store. */
export function foreignAnswer({ origin }: S3Place, action: S3Action, answer: S3Answer): StoreError {
  const what = answer.contentType?.split(';', 1)[0] || 'no type';
  return new StoreError('permanent', {
    message: `cannot ${action.what}: ${origin} answered something that is not S3 (HTTP ${answer.status}, ${what}): ${excerpt(answer.body)}`,
    ...(action.kept && { kept: action.kept }),
    next: 'check endpoint: a web page, a console or a proxy may be there instead of the S3 API',
  });
}

const EXCERPT_CHARACTERS = 120;

function excerpt(body: string): string {
  const text = oneLine(body.replace(/<[^>]*>/g, ' '));
  return text === '' ? '(nothing)' : JSON.stringify(text.slice(0, EXCERPT_CHARACTERS));
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

function skewWords(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000);
  const amount = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `it is ${amount} ${ms > 0 ? 'ahead of' : 'behind'} the server's`;
}

interface NetworkReading {
  readonly codes: readonly string[];
  readonly kind: StoreErrorKind;
  readonly words: (host: string) => string;
  readonly next?: string;
}

const CERTIFICATE_CODES = [
  ...['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ...['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'],
];

const NETWORK: readonly NetworkReading[] = [
  {
    codes: ['ENOTFOUND', 'ENODATA'],
    kind: 'transient',
    words: (host) => `no address is known for the host ${host}`,
    next: 'check endpoint (and region), and the name service of this machine',
  },
  {
    codes: ['EAI_AGAIN'],
    kind: 'transient',
    words: (host) => `the name service does not answer for ${host}`,
    next: 'check the network of this machine',
  },
  {
    codes: ['ECONNREFUSED'],
    kind: 'transient',
    words: (host) => `${host} refuses the connection`,
    next: 'check endpoint and its port, and that the server runs',
  },
  {
    codes: ['ECONNRESET', 'EPIPE', 'ECONNABORTED'],
    kind: 'transient',
    words: (host) => `the connection to ${host} was cut`,
  },
  {
    codes: ['ERR_INVALID_CHAR'],
    kind: 'permanent',
    words: () => 'a header cannot be sent with a character that it has',
    next: 'check storage-class, the encryption settings and the credentials',
  },
  {
    codes: ['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EADDRNOTAVAIL'],
    kind: 'transient',
    words: (host) => `${host} cannot be reached`,
    next: 'check the network, endpoint and its port',
  },
  {
    codes: CERTIFICATE_CODES,
    kind: 'permanent',
    words: (host) => `the certificate of ${host} is not signed by an authority that this machine trusts`,
    next: 'name the certificate of its authority with root-cas (or AWS_CA_BUNDLE)',
  },
  {
    codes: ['CERT_HAS_EXPIRED'],
    kind: 'permanent',
    words: (host) => `the certificate of ${host} has expired`,
    next: 'renew it; or is the clock of this machine wrong?',
  },
  {
    codes: ['CERT_NOT_YET_VALID'],
    kind: 'permanent',
    words: (host) => `the certificate of ${host} is not valid yet`,
    next: 'is the clock of this machine wrong?',
  },
  {
    codes: ['ERR_TLS_CERT_ALTNAME_INVALID'],
    kind: 'permanent',
    words: (host) => `the certificate that answers for ${host} is made out to another name`,
    next: 'check endpoint; with a bucket in the host name, force-path-style: true may help',
  },
  {
    codes: ['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG'],
    kind: 'permanent',
    words: (host) => `${host} does not speak TLS`,
    next: 'is it a plain port? Then write endpoint with http://',
  },
];

/** The error for a request that got no answer. */
export function networkError({ origin }: S3Place, action: S3Action, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const host = new URL(origin).host;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reading = NETWORK.find(({ codes }) => codes.includes(code));
  const parts = (words: string, next: string | undefined) => ({
    message: `cannot ${action.what}: ${words}${code === '' ? '' : ` (${code})`}`,
    ...(action.kept && { kept: action.kept }),
    ...(next && { next }),
    cause: error,
  });
  if (reading) {
    const isCut = reading.codes.includes('ECONNRESET') && origin.startsWith('http:');
    const next = isCut ? 'should this not pass: is it a TLS port? Then write endpoint with https://' : reading.next;
    return new StoreError(reading.kind, parts(reading.words(host), next));
  }
  // Node's parser met bytes that are no HTTP: most often a TLS port that was spoken to in plain.
  if (code.startsWith('HPE_')) {
    const next = origin.startsWith('http:') ? 'is it a TLS port? Then write endpoint with https://' : 'check endpoint';
    return new StoreError('permanent', parts(`${host} does not answer in HTTP`, next));
  }
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') || code.startsWith('CERT_')) {
    return new StoreError('permanent', parts(`no TLS connection with ${host}: ${messageOf(error)}`, undefined));
  }
  const hangup = hasCode(error, 'ERR_STREAM_PREMATURE_CLOSE') || messageOf(error) === 'socket hang up';
  return new StoreError('transient', parts(hangup ? `${host} hung up` : messageOf(error), undefined));
}

/** The error for a server that says nothing for too long. */
export function silenceError({ origin }: S3Place, action: S3Action, seconds: number): StoreError {
  return new StoreError('transient', {
    message: `cannot ${action.what}: ${new URL(origin).host} said nothing for ${seconds} s`,
    ...(action.kept && { kept: action.kept }),
  });
}
