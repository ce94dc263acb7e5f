import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { identify } from '../base/database-files.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { DiskShare, type Disks } from '../capture/disk-share.ts';
import { spoolPathFor } from '../replica/local-state.ts';

/** Of all databases of this process that wait for a store. */
const disks: Disks = new Map();

/**
 * Files that an earlier run left, while nothing is captured as the store does not answer: they are given up as well when the database
 * needs their room. The start finds then that they are missing, and compares with the replica. Dispose of it when the wait is over.
 */
export class SpoolRoom {
  readonly #share: DiskShare;
  readonly #spoolPath: string;
  readonly #databasePath: string;
  readonly #log: Logger;

  constructor(databasePath: string, metaPath: string, log: Logger) {
    this.#spoolPath = spoolPathFor(metaPath);
    this.#databasePath = databasePath;
    this.#log = log;
    this.#share = new DiskShare(disks, metaPath, () => this.#giveUp());
  }

  /** Looks whether files have to go. Only for whoever owns the spool. */
  relieve(): void {
    try {
      this.#share.join(identify(dirname(this.#databasePath))?.device ?? 0n);
      this.#share.hold(this.#bytes);
      this.#share.relieve();
    } catch (error) {
      this.#log.log('warn', 'files that are not stored could not be given up', { error: messageOf(error) });
    }
  }

  [Symbol.dispose](): void {
    this.#share.leave();
  }

  get #paths(): string[] {
    if (!fs.existsSync(this.#spoolPath)) return [];
    return fs.readdirSync(this.#spoolPath).map((name) => join(this.#spoolPath, name));
  }

  /** Bytes that can be given up. Where the database is gone, the files are all there is of it. */
  get #bytes(): number {
    if (!identify(this.#databasePath)) return 0;
    return this.#paths.reduce((sum, path) => sum + fs.statSync(path).size, 0);
  }

  #giveUp(): void {
    const bytes = this.#bytes;
    if (bytes === 0) return;
    for (const path of this.#paths) fs.rmSync(path, { recursive: true, force: true });
    this.#share.hold(0);
    this.#log.log('warn', 'gave up files that were not stored', {
      bytes,
      kept: 'their commits are in the database; what differs is stored once the store answers',
    });
  }
}
