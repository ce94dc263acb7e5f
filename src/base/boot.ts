import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Where Linux has it. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Where nobody tells, no more is known than that this process still runs. */
const THIS_PROCESS = randomUUID();

/** Names the time since the machine was last switched on: what was written since then and never synced is still there. */
export function bootId(): string {
  try {
    return readFileSync(BOOT_ID, 'latin1').trim() || THIS_PROCESS;
  } catch {
    return THIS_PROCESS; // not Linux, or a sandbox
  }
}
