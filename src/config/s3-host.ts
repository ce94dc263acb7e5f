/** What the host of an `s3:` URL says. */
export interface S3Host {
  readonly bucket: string;
  readonly region?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly pathStyle?: boolean;
}

interface HostForm {
  readonly host: RegExp;
  read(rest: string): Omit<S3Host, 'bucket'>;
}

const FORMS: readonly HostForm[] = [
  { host: /^(.+)\.s3\.amazonaws\.com$/, read: () => ({}) },
  { host: /^(.+)\.s3\.([^.]+)\.amazonaws\.com$/, read: (region) => ({ region }) },
  {
    host: /^(.+)\.([^.]+)\.digitaloceanspaces\.com$/,
    read: (region) => ({ region, endpoint: `https://${region}.digitaloceanspaces.com`, pathStyle: false }),
  },
  {
    host: /^(.+)\.s3\.([^.]+)\.backblazeb2\.com$/,
    read: (region) => ({ region, endpoint: `https://s3.${region}.backblazeb2.com`, pathStyle: true }),
  },
  {
    host: /^(.+)\.s3\.filebase\.com$/,
    read: () => ({ endpoint: 'https://s3.filebase.com', pathStyle: true }),
  },
  {
    host: /^(.+)\.s3\.([^.]+)\.scw\.cloud$/,
    read: (region) => ({ region, endpoint: `https://s3.${region}.scw.cloud`, pathStyle: false }),
  },
  {
    // MinIO: the bucket, then a host with a port.
    host: /^([^.:]+)\.((?!.*\.com:)[^:]+:\d+)$/,
    read: (host) => ({ region: 'us-east-1', endpoint: `http://${host}`, pathStyle: true }),
  },
];

/** Reads the host of an `s3:` URL: a bucket, or one of the forms of providers that carry the bucket in the host's name. */
export function parseS3Host(host: string): S3Host {
  for (const form of FORMS) {
    const [, bucket, rest = ''] = form.host.exec(host) ?? [];
    if (bucket !== undefined) return { bucket, ...form.read(rest) };
  }
  return { bucket: host };
}
