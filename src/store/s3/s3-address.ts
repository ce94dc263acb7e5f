import type { S3Location } from '../../config/s3-location.ts';

/** Where requests for a bucket go. */
export interface S3Address {
  readonly protocol: 'http:' | 'https:';
  /** Host name without the port, without the brackets of an IPv6 address. */
  readonly hostname: string;
  readonly port: number;
  /** What the `Host` header says: the port is in it where it is not the protocol's own. */
  readonly host: string;
  /** What comes before the key in the path: `/` or `/bucket/`, percent-encoded. */
  readonly basePath: string;
}

/** Where the bucket of `location` is asked for, in this region. */
export function addressOf(location: S3Location, region: string): S3Address {
  const { bucket, endpoint } = location;
  const point = accessPointOf(bucket);
  if (point && endpoint === undefined) {
    return hosted(new URL(`https://${point.name}-${point.account}.s3-accesspoint.${region}.${awsDomain(region)}`), '');
  }
  const base = new URL(endpoint ?? `https://s3.${region}.${awsDomain(region)}`);
  if (point) return hosted(base, `${point.name}-${point.account}`);
  // A certificate for *.s3.region.amazonaws.com does not cover a name with dots in front of it.
  if (location.pathStyle || (bucket.includes('.') && base.protocol === 'https:')) return hosted(base, '', bucket);
  return hosted(base, bucket);
}

function hosted(base: URL, label: string, bucketInPath?: string): S3Address {
  const prefix = label === '' ? '' : `${label}.`;
  const protocol = base.protocol === 'http:' ? 'http:' : 'https:';
  const folder = base.pathname.replace(/\/*$/, '/');
  return {
    protocol,
    hostname: prefix + base.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: base.port === '' ? (protocol === 'http:' ? 80 : 443) : Number(base.port),
    host: prefix + base.host,
    basePath: bucketInPath === undefined ? folder : `${folder}${encodePath(bucketInPath)}/`,
  };
}

function awsDomain(region: string): string {
  return region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
}

/** The parts of the ARN of an access point; undefined for the name of a bucket. */
export function accessPointOf(
  bucket: string,
): { readonly region: string; readonly account: string; readonly name: string } | undefined {
  const [, region, account, name] = /^arn:[^:]+:s3:([^:]+):(\d+):accesspoint[/:]([^/:]+)$/.exec(bucket) ?? [];
  return region && account && name ? { region, account, name } : undefined;
}

/** Percent-encodes each part of a key, as signatures want it: all but letters, digits and `-_.~`. */
export function encodePath(key: string): string {
  return key.split('/').map(encodeName).join('/');
}

export function encodeName(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
