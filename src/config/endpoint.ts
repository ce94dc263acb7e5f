import { BlockList, isIP } from 'node:net';

const PRIVATE = new BlockList();
for (const [net, bits] of [
  ['10.0.0.0', 8],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(net, bits);
}
PRIVATE.addAddress('::1', 'ipv6');
PRIVATE.addSubnet('fc00::', 7, 'ipv6');

/**
 * Reads the address of a store: a host with or without a port and a scheme, and a path where the provider has one
 * (Supabase). Returns it as a URL without a slash at its end; undefined for anything else, credentials included.
 */
export function parseEndpoint(typed: string, assumed: 'https' | 'by host'): string | undefined {
  // Whatever else stands here may be a password, or be read as another host by another reader.
  if (/[?#@\\\s]/.test(typed)) return undefined;
  const url = URL.parse(/^\w+:\/\//.test(typed) ? typed : `https://${typed}`);
  if (!url || !/^https?:$/.test(url.protocol)) return undefined;
  const isHttp = assumed === 'by host' && !typed.includes('://') && isLocalName(url.hostname);
  const scheme = isHttp ? 'http:' : url.protocol;
  // A port that is usual for https is not usual for http, and URL drops the usual one.
  const host = isHttp && /:443$/.test(typed) ? `${url.hostname}:443` : url.host;
  return `${scheme}//${host}${url.pathname.replace(/\/+$/, '')}`;
}

/** Whether what is sent to this address stays in the house: this machine, or an IP address of a private network. */
export function isPrivateAddress(hostname: string): boolean {
  const host = withoutBrackets(hostname);
  const family = isIP(host);
  if (family === 0) return host === 'localhost' || host.endsWith('.localhost');
  return PRIVATE.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

/** Whether this is an IP address and not a name. */
export function isAddress(hostname: string): boolean {
  return isIP(withoutBrackets(hostname)) !== 0;
}

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function isLocalName(hostname: string): boolean {
  return isPrivateAddress(hostname) || hostname.endsWith('.local');
}
