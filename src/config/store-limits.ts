/** What a store may be asked of. Where a limit is `Infinity`, there is none. */
export interface StoreLimits {
  /** Requests under way at a time. */
  readonly maxConnections: number;
  /** Bytes sent a second. */
  readonly uploadBytesPerSecond: number;
  /** Bytes received a second. */
  readonly downloadBytesPerSecond: number;
}

export const DEFAULT_STORE_LIMITS: StoreLimits = {
  maxConnections: 32,
  uploadBytesPerSecond: Number.POSITIVE_INFINITY,
  downloadBytesPerSecond: Number.POSITIVE_INFINITY,
};
