import { existsSync, type FSWatcher, readdirSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { parseLtxName } from '../../src/ltx/format.ts';
import { commitsInFile } from './progress-row.ts';

/** How often to look where no file-system event came. */
const POLL_MS = 50;

/** A file that appeared in a replica's level 0. */
export interface StoredFile {
  readonly txid: bigint;
  readonly sizeBytes: number;
  /** The last commit in it; undefined when none of the application's is. */
  readonly commits: number | undefined;
  /** When it was there, ms since 1970. */
  readonly atMs: number;
}

/** Watches a replica's folder from outside, and tells which commits its files hold. */
export class StoredCommits {
  readonly #folder: string;
  readonly #page: number;
  readonly #onFile: (file: StoredFile) => void;
  readonly #seen = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;

  /** `page` is where the progress row lies in the database. */
  constructor(replicaFolder: string, page: number, onFile: (file: StoredFile) => void) {
    this.#folder = join(replicaFolder, 'ltx', '0');
    this.#page = page;
    this.#onFile = onFile;
    this.#timer = setInterval(() => this.look(), POLL_MS);
  }

  look(): void {
    if (!existsSync(this.#folder)) return;
    this.#watcher ??= watch(this.#folder, () => this.look()).on('error', () => undefined); // the timer goes on
    const atMs = Date.now();
    const names = readdirSync(this.#folder).filter((name) => parseLtxName(name) && !this.#seen.has(name));
    for (const name of names.sort()) {
      this.#seen.add(name);
      const path = join(this.#folder, name);
      const txid = parseLtxName(name)?.maxTxid ?? 0n;
      this.#onFile({ txid, sizeBytes: statSync(path).size, commits: commitsInFile(path, this.#page), atMs });
    }
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    clearInterval(this.#timer);
  }
}
