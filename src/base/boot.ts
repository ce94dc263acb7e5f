import { readFileSync } from 'node:fs';

/** Where Linux has it. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/**
 * Names the time since the machine was last switched on: what was written since then and never synced is still there. Undefined where
 * the system does not tell.
 */
export function bootId(): string | undefined {
  try {
    return readFileSync(BOOT_ID, 'latin1').trim() || undefined;
  } catch {
    return undefined; // not Linux, or a sandbox: nothing is known then
  }
}
