import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from '../../base/errors.ts';

/** Answers of file systems (some network and FUSE mounts) whose folders have no fsync. */
const NO_FOLDER_FSYNC_CODES = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'] as const;

/** fsync of a folder: makes creations, renames and removals in it durable. */
export async function fsyncFolder(path: string): Promise<void> {
  const handle = await fs.open(path, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // There is nothing more to ask of such a file system: its renames are as durable as it makes them.
    if (!hasCode(error, ...NO_FOLDER_FSYNC_CODES)) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Makes the folders below a root, durably. That a folder exists does not show that its entry would survive a power loss
 * (another put, or a process that died, may have made it an instant ago), so the parent of every folder is fsynced once by
 * each process that stores something in it.
 */
export class DurableFolders {
  readonly #root: string;
  readonly #mode: number;
  readonly #ready = new Map<string, Promise<void>>();

  constructor(root: string, mode: number) {
    this.#root = root;
    this.#mode = mode;
  }

  /** Resolves when `folder` (the root or below it) exists and will survive a power loss. */
  prepare(folder: string): Promise<void> {
    let ready = this.#ready.get(folder);
    if (!ready) {
      ready = folder === this.#root ? this.#prepareRoot() : this.#prepareBelow(folder);
      this.#ready.set(folder, ready);
      ready.catch(() => this.#ready.delete(folder)); // the caller gets the error; the next put tries again
    }
    return ready;
  }

  async #prepareRoot(): Promise<void> {
    const topmostMade = await this.#makeRoot();
    const top = dirname(topmostMade ?? this.#root);
    for (let folder = dirname(this.#root); ; folder = dirname(folder)) {
      await fsyncFolder(folder).catch((error: unknown) => {
        // A parent that we may not even read is none that a process like this one has made.
        if (topmostMade !== undefined || !hasCode(error, 'EACCES', 'EPERM')) throw error;
      });
      if (folder === top) return;
    }
  }

  /** Folder by folder: Node's own recursive mkdir never ends where a folder answers that it is not there (/proc). */
  async #makeRoot(): Promise<string | undefined> {
    const nearest = await nearestThere(this.#root);
    const missing: string[] = [];
    for (let folder = this.#root; folder !== nearest; folder = dirname(folder)) missing.unshift(folder);
    for (const folder of missing) await this.#make(folder);
    if (missing.length === 0) await this.#make(this.#root); // whoever is there may be no folder
    return missing[0];
  }

  async #make(folder: string): Promise<void> {
    try {
      await fs.mkdir(folder, { mode: this.#mode });
    } catch (error) {
      const isFolder = hasCode(error, 'EEXIST') && (await fs.stat(folder)).isDirectory();
      if (!isFolder) throw error;
    }
  }

  async #prepareBelow(folder: string): Promise<void> {
    const parent = dirname(folder);
    await this.prepare(parent);
    await fs.mkdir(folder, { mode: this.#mode }).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error; // where it is no folder, staging a file in it says so
    });
    await fsyncFolder(parent);
  }
}

/** The lowest part of a path that exists. */
async function nearestThere(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const exists = await fs.access(folder).then(
      () => true,
      () => false,
    );
    if (exists || folder === dirname(folder)) return folder;
  }
}
