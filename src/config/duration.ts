const UNIT_NS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n, // U+00B5, micro sign
  μs: 1_000n, // U+03BC, Greek mu
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const MAX_NS = 2n ** 63n - 1n;
const PART = /(\d+)?(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/y;

/**
 * Reads a duration as Go (and so Litestream) writes it: `500ms`, `1m30s`, `1.5h`, `-2s`; `0` needs no unit. Returns
 * milliseconds; undefined for anything else, and for more than the 292 years that Go can hold.
 */
export function parseDuration(text: string): number | undefined {
  const negative = text.startsWith('-');
  const body = /^[+-]/.test(text) ? text.slice(1) : text;
  if (body === '0') return 0;
  if (body === '') return undefined;
  let totalNs = 0n;
  PART.lastIndex = 0;
  while (PART.lastIndex < body.length) {
    const ns = partNs(PART.exec(body));
    if (ns === undefined) return undefined;
    totalNs += ns;
  }
  if (totalNs > MAX_NS) return undefined;
  const ms = Number(totalNs) / 1e6;
  return negative && ms !== 0 ? -ms : ms;
}

function partNs(match: RegExpExecArray | null): bigint | undefined {
  const [, whole = '', fraction = '', unit = ''] = match ?? [];
  const unitNs = UNIT_NS[unit];
  if (unitNs === undefined || (whole === '' && fraction === '')) return undefined;
  return BigInt(whole || '0') * unitNs + (BigInt(fraction || '0') * unitNs) / 10n ** BigInt(fraction.length);
}

/** Writes milliseconds as Go does: `0s`, `250µs`, `1.5s`, `1m30s`, `1h0m0s`. Exact to the nanosecond. */
export function formatDuration(ms: number): string {
  const ns = BigInt(Math.round(Math.abs(ms) * 1e6));
  const sign = ms < 0 && ns > 0n ? '-' : '';
  if (ns === 0n) return '0s';
  if (ns < 1_000n) return `${sign}${ns}ns`;
  if (ns < 1_000_000n) return `${sign}${decimal(ns, 1_000n)}µs`;
  if (ns < 1_000_000_000n) return `${sign}${decimal(ns, 1_000_000n)}ms`;
  const minutes = ns / 60_000_000_000n;
  const seconds = `${decimal(ns % 60_000_000_000n, 1_000_000_000n)}s`;
  if (minutes === 0n) return sign + seconds;
  if (minutes < 60n) return `${sign}${minutes}m${seconds}`;
  return `${sign}${minutes / 60n}h${minutes % 60n}m${seconds}`;
}

/** `value / unit` for a unit that is a power of ten, without trailing zeros. */
function decimal(value: bigint, unit: bigint): string {
  const digits = unit.toString().length - 1;
  const fraction = (value % unit).toString().padStart(digits, '0').replace(/0+$/, '');
  return fraction === '' ? `${value / unit}` : `${value / unit}.${fraction}`;
}
