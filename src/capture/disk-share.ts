import { statfsSync } from 'node:fs';
import { identify } from '../base/database-files.ts';
import { DISK_FULL_CODES } from '../base/errors.ts';

/**
 * Files that are not stored yet may be so many times as large as what is left free on the disk of the database, those of all
 * databases there together: past `most` no more are made, past `utmost` they are given up. At `resumed` they are made again.
 */
const SHARE = { resumed: 1, most: 3, utmost: 7 } as const;
/** Up to this, a nearly full disk alone is no reason to make no more files. */
const LITTLE_BYTES = 1024 * 1024;

/** Thrown by whoever would take the database's room: as if the disk were full already. */
export function nearlyFull(): Error {
  const message = 'the database will need what is left of its disk';
  return Object.assign(new Error(message), { code: DISK_FULL_CODES[0], syscall: 'write' });
}

/** Whether a WAL that grew by so many bytes, for as long as we read, leaves less than that for what it still grows by. `folder`: where it is. */
export function isOutgrown(folder: string, grownBytes: number): boolean {
  return grownBytes > LITTLE_BYTES && grownBytes > freeBytesOf(folder);
}

/** All files that wait on one disk, and whose they are. */
export interface Disk {
  bytes: number;
  readonly sharers: Set<DiskShare>;
}

/** By device. */
export type Disks = Map<bigint, Disk>;

/**
 * How much of a disk the files of one capture take, where its database lies on the same one. A disk that becomes full is the
 * database's: what is not stored yet is in the database as well, so it is given up before the application can write no more.
 */
export class DiskShare {
  readonly #disks: Disks;
  readonly #folder: string;
  readonly #starved: () => void;
  #disk: Disk | undefined;
  #bytes = 0;

  /**
   * `disks`: what all captures of this thread share. `folder`: where the files are. `starved`: those of this capture should be given
   * up; may be called again and again.
   */
  constructor(disks: Disks, folder: string, starved: () => void) {
    this.#disks = disks;
    this.#folder = folder;
    this.#starved = starved;
  }

  /** The database is on this device, as its folder has it: files can have others, where file systems lie upon each other. */
  join(device: bigint): void {
    this.leave();
    if (identify(this.#folder)?.device !== device) return;
    const disk = this.#disks.get(device) ?? { bytes: 0, sharers: new Set() };
    this.#disks.set(device, disk);
    disk.sharers.add(this);
    disk.bytes += this.#bytes;
    this.#disk = disk;
  }

  leave(): void {
    if (!this.#disk?.sharers.delete(this)) return;
    this.#disk.bytes -= this.#bytes;
    this.#disk = undefined;
  }

  /** The files are on the disk of the database. */
  get isShared(): boolean {
    return this.#disk !== undefined;
  }

  /** The files take so many bytes now. */
  hold(bytes: number): void {
    if (this.#disk) this.#disk.bytes += bytes - this.#bytes;
    this.#bytes = bytes;
  }

  /** No more files should be made; `more`: bytes of one that is being made. */
  isUsedUp(more = 0): boolean {
    if (!this.#disk) return false;
    return this.#bytes + more > LITTLE_BYTES && this.#together + more > SHARE.most * this.#freeBytes;
  }

  /** Files can be made again. */
  get mayResume(): boolean {
    return this.#bytes === 0 || this.#together <= SHARE.resumed * this.#freeBytes;
  }

  /**
   * Has files given up if they take what the database will need: those of whoever has most. `isFull`: whoever calls has met a limit of
   * its own (a quota), which the disk does not show.
   */
  relieve(isFull = false): void {
    if (!this.#disk || this.#together === 0) return;
    if (isFull) {
      if (this.#bytes > 0) this.#starved();
      return;
    }
    if (this.#together <= SHARE.utmost * this.#freeBytes) return;
    let largest: DiskShare = this;
    for (const other of this.#disk.sharers) if (other.#bytes > largest.#bytes) largest = other;
    largest.#starved();
  }

  get #together(): number {
    return this.#disk?.bytes ?? 0;
  }

  get #freeBytes(): number {
    return freeBytesOf(this.#folder);
  }
}

/** What those who are not root can still use. Where nobody can tell, a full disk is met, not foreseen. */
function freeBytesOf(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
