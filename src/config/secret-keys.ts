/** Keys whose value is never printed, those of stores that are not built included. */
const SECRET_KEYS: readonly string[] = [
  ...['secret-access-key', 'session-token', 'sse-customer-key', 'account-key', 'sas-token', 'password'],
  ...['webdav-password', 'jwt', 'seed', 'nkey', 'token'],
];

export function isSecretKey(key: string): boolean {
  return SECRET_KEYS.includes(key);
}
