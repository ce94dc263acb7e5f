/** Keys of a replica that are about one kind of store or a few; those of all kinds are not here. */
const STORES_OF_KEY: Readonly<Record<string, readonly string[]>> = {
  ...of(['s3'], 'session-token', 'force-path-style', 'sign-payload', 'require-content-md5', 'skip-verify'),
  ...of(['s3'], 'storage-class', 'sse-customer-algorithm', 'sse-customer-key', 'sse-customer-key-path'),
  ...of(['s3'], 'sse-kms-key-id'),
  ...of(['s3', 'oss'], 'access-key-id', 'secret-access-key', 'region', 'part-size', 'concurrency'),
  ...of(['s3', 'gs', 'abs', 'nats', 'oss'], 'bucket'),
  ...of(['s3', 'abs', 'oss'], 'endpoint'),
  ...of(['s3', 'nats'], 'root-cas'),
  ...of(['abs'], 'account-name', 'account-key', 'sas-token'),
  ...of(['sftp'], 'host', 'user', 'password', 'key-path', 'host-key', 'concurrent-writes'),
  ...of(['webdav'], 'webdav-url', 'webdav-username', 'webdav-password'),
  ...of(['nats'], 'jwt', 'seed', 'creds', 'nkey', 'username', 'token', 'tls', 'client-cert', 'client-key'),
  ...of(['nats'], 'max-reconnects', 'reconnect-wait', 'timeout'),
};

function of(stores: readonly string[], ...keys: readonly string[]): Record<string, readonly string[]> {
  return Object.fromEntries(keys.map((key) => [key, stores]));
}

/** The kinds of store that a key is about; undefined for a key of all kinds. */
export function storesOf(key: string): readonly string[] | undefined {
  return Object.hasOwn(STORES_OF_KEY, key) ? STORES_OF_KEY[key] : undefined;
}

/** Keys that only stores have which are not built. */
export const OTHER_STORE_KEYS: readonly string[] = Object.keys(STORES_OF_KEY).filter(
  (key) => !STORES_OF_KEY[key]?.includes('s3'),
);
