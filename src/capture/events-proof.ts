import { type FSWatcher, mkdirSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { identify } from '../base/database-files.ts';

/** A folder that is made to see whether that is told. */
const PROBE = 'events';

/**
 * On which file systems events tell of changes. Some have none, and say nothing of it: only an event that came proves that
 * they come.
 */
export class EventsProof {
  /** By device: events came, or are waited for. */
  readonly #devices = new Map<bigint, 'told' | 'asked'>();

  isTold(device: bigint): boolean {
    return this.#devices.get(device) === 'told';
  }

  /** An event came. */
  told(device: bigint): void {
    this.#devices.set(device, 'told');
  }

  /** Makes a folder in one of ours on that device, once, to see whether an event comes. */
  ask(device: bigint, folder: string): void {
    if (this.#devices.has(device) || identify(folder)?.device !== device) return;
    this.#devices.set(device, 'asked');
    let watcher: FSWatcher | undefined;
    try {
      watcher = watch(folder, { persistent: false }, () => {
        this.told(device);
        watcher?.close();
      });
      watcher.on('error', () => watcher?.close());
      const probe = join(folder, PROBE);
      mkdirSync(probe, { recursive: true });
      rmSync(probe, { recursive: true, force: true });
    } catch {
      watcher?.close(); // no watches left, or no room: the time alone has to do
    }
  }
}
