const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  ki: 2 ** 10,
  kib: 2 ** 10,
  m: 1e6,
  mb: 1e6,
  mi: 2 ** 20,
  mib: 2 ** 20,
  g: 1e9,
  gb: 1e9,
  gi: 2 ** 30,
  gib: 2 ** 30,
  t: 1e12,
  tb: 1e12,
  ti: 2 ** 40,
  tib: 2 ** 40,
  p: 1e15,
  pb: 1e15,
  pi: 2 ** 50,
  pib: 2 ** 50,
};

/**
 * Reads a size as Litestream does: `5MB` (decimal), `10MiB` (binary), `1.5 GiB`, `1,000,000`, in any case, with or
 * without the `B`. Returns whole bytes; undefined for anything else, and for more than can be counted exactly.
 */
export function parseSize(text: string): number | undefined {
  const match = /^([\d,]*\.?\d*)\s*([a-z]*)$/i.exec(text.trim());
  const unitBytes = UNIT_BYTES[match?.[2]?.toLowerCase() ?? '?'];
  const digits = match?.[1]?.replaceAll(',', '') ?? '';
  if (unitBytes === undefined || !/\d/.test(digits)) return undefined;
  const bytes = Math.trunc(Number(digits) * unitBytes);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
