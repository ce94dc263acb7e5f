/** Where a server of ours listens. */
export interface ListenAddress {
  /** Undefined: on every address of this machine. */
  readonly host: string | undefined;
  readonly port: number;
}

/** Reads `host:port`, `[ipv6]:port` or `:port`, as Go does; undefined for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (!parts || port > 65_535) return undefined;
  return { host: parts[1] ?? (parts[2] || undefined), port };
}

/** Such an address as it is written. */
export function formatListenAddress({ host = '', port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
