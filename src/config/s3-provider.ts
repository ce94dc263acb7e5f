/** What a provider of a store that speaks S3's protocol wants otherwise than Amazon. */
export interface S3Provider {
  readonly pathStyle?: boolean;
  readonly concurrency?: number;
  readonly contentMd5?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/*
 * | provider       | host                                 | differs by                                    |
 * | -------------- | ------------------------------------ | --------------------------------------------- |
 * | Tigris         | fly.storage.tigris.dev, t3.storage.dev | a header asks for consistency; no Content-MD5 |
 * | Cloudflare R2  | *.r2.cloudflarestorage.com           | two parts at a time                           |
 * | Backblaze B2   | *.backblazeb2.com                    | path style                                    |
 * | Filebase       | s3.filebase.com                      | path style                                    |
 * | Supabase       | *.supabase.co                        | path style                                    |
 * | MinIO and such | any other with a port                | path style                                    |
 */
const PROVIDERS: readonly (readonly [RegExp, S3Provider])[] = [
  [/^(fly\.storage\.tigris\.dev|t3\.storage\.dev)$/, { contentMd5: false, headers: { 'X-Tigris-Consistent': 'true' } }],
  [/\.r2\.cloudflarestorage\.com$/, { concurrency: 2 }],
  [/\.backblazeb2\.com$|^s3\.filebase\.com$|\.supabase\.co$/, { pathStyle: true }],
];
const WITHOUT_A_RULE = /\.(amazonaws|digitaloceanspaces|filebase)\.com$|\.scw\.cloud$|\.your-objectstorage\.com$/;

/** The provider behind an endpoint, a URL. */
export function providerOf(endpoint: string): S3Provider {
  const { hostname, port } = new URL(endpoint);
  const found = PROVIDERS.find(([host]) => host.test(hostname));
  if (found) return found[1];
  return port !== '' && !WITHOUT_A_RULE.test(hostname) ? { pathStyle: true } : {};
}
