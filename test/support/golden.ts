import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Replicas written by real Litestream binaries: RIVULET_GOLDEN, or beside the checkout; undefined where there are none. */
export function goldenFolder(): string | undefined {
  const candidates = [process.env.RIVULET_GOLDEN, join(checkout, '../shared/golden')];
  return candidates.find((folder) => folder !== undefined && existsSync(folder));
}
