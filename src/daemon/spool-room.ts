import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { identify } from '../base/database-files.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { DiskShare } from '../capture/disk-share.ts';
import { spoolPathFor } from '../replica/local-state.ts';

/**
 * Files that an earlier run left, while nothing is captured as the store does not answer: they are given up as well when the database
 * needs their room. The start finds then that they are missing, and compares with the replica.
 */
export class SpoolRoom {
  readonly #share: DiskShare;
  readonly #spoolPath: string;
  readonly #databaseFolder: string;
  readonly #log: Logger;

  constructor(databasePath: string, metaPath: string, log: Logger) {
    this.#spoolPath = spoolPathFor(metaPath);
    this.#databaseFolder = dirname(databasePath);
    this.#log = log;
    this.#share = new DiskShare(new Map(), metaPath, () => this.#giveUp());
  }

  relieve(): void {
    try {
      this.#share.join(identify(this.#databaseFolder)?.device ?? 0n);
      this.#share.hold(this.#bytes);
      this.#share.relieve();
    } catch (error) {
      this.#log.log('warn', 'files that are not stored could not be given up', { error: messageOf(error) });
    }
  }

  get #names(): string[] {
    return fs.existsSync(this.#spoolPath) ? fs.readdirSync(this.#spoolPath) : [];
  }

  get #bytes(): number {
    return this.#names.reduce((sum, name) => sum + fs.statSync(join(this.#spoolPath, name)).size, 0);
  }

  #giveUp(): void {
    const bytes = this.#bytes;
    for (const name of this.#names) fs.rmSync(join(this.#spoolPath, name), { recursive: true, force: true });
    this.#log.log('warn', 'gave up files that were not stored', {
      bytes,
      kept: 'their commits are in the database; what differs is stored once the store answers',
    });
  }
}
