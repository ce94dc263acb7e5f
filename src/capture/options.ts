import { type Checksum, checksum } from '../base/types.ts';
import type { LocalPosition } from '../replica/local-state.ts';
import type { SpooledFile } from './l0-writer.ts';

/** How one database is captured. Times in ms, sizes in bytes, counts in pages. */
export interface CaptureSettings {
  readonly path: string;
  /** Folder for Rivulet's own files. */
  readonly metaPath: string;
  readonly replicaUrl: string;
  readonly lineage: string | undefined;
  /** At most one L0 file in this time while commits arrive; 0: one for every look that finds commits. */
  readonly syncIntervalMs: number;
  /** How often to look when nothing tells of a change. */
  readonly monitorIntervalMs: number;
  /** Longest wait for one lock of the database; it is taken in short waits. */
  readonly busyTimeoutMs: number;
  /** Checkpoint once the WAL holds this many pages. */
  readonly minCheckpointPages: number;
  /** Checkpoint at least this often while commits arrive; 0: never for the time alone. */
  readonly checkpointIntervalMs: number;
  /** Shrink the WAL file once it is this many pages long. */
  readonly truncatePages: number;
  /** Cut an L0 file at the next commit once it covers this much WAL. 0: no limit. */
  readonly maxSyncWalBytes: number;
  /** Cap of L0 files that are not stored yet; images are not counted. */
  readonly maxSpoolBytes: number;
  /** Switch a database in rollback-journal mode to WAL mode. */
  readonly setWal: boolean;
}

/** What the replica has of the database. */
export interface StartingPoint {
  /** Undefined: the replica is empty, and TXID 1 will be a full image. Else that of the local state, which holds the page hashes. */
  readonly position: LocalPosition | undefined;
  /** Bytes that lie in the spool already, waiting to be stored. */
  readonly spooledBytes: number;
  /** Files up to this one are stored; 0n: none is. */
  readonly storedTxid: bigint;
  /** Begin with an image: the replica lacks the snapshot of one that it stands on. */
  readonly needsImage?: boolean | undefined;
}

/** What the replica surely has of a database: its newest file that is stored. */
export interface StoredBase {
  /** 0n: nothing. */
  readonly txid: bigint;
  /** 0n when it is not known. */
  readonly fileChecksum: Checksum;
  /** An image that it stands on has no snapshot: another one has to follow. */
  readonly lacksSnapshot: boolean;
}

export const NOTHING_STORED: StoredBase = { txid: 0n, fileChecksum: checksum(0n), lacksSnapshot: false };

/** Files that are to be given up, and what the next one follows. */
export interface GivenUp {
  /** TXID of the oldest of them. */
  readonly from: bigint;
  /** It may have the TXID of the oldest itself: where a file was found in the store that had been given up before. */
  readonly base: StoredBase;
}

/**
 * - `waiting`: nothing to read yet (no file, an empty file, a busy one); tried again on its own.
 * - `attached`: the standing read transaction is held.
 * - `failed`: an error that needs a person; tried again with growing pauses.
 * - `suspended`: no room for L0 files; the database goes on, and is compared with the replica when there is room.
 */
export type CaptureState =
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'attached' }
  | { readonly kind: 'suspended'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: unknown };

/** Told while a capture runs. */
export interface CaptureListener {
  state(state: CaptureState): void;
  /** A file is whole in the spool and recorded in the local state. */
  spooled(file: SpooledFile): void;
  /** How far the reading of the whole database is. */
  progress(doneBytes: number, totalBytes: number): void;
  /** The files that are not stored take room that the database needs. They should be given up; may be said again and again. */
  starved(): void;
  /** What was told of and not stored is given up, as it was asked for. What comes next follows the base that was named. */
  gaveUp(): void;
}
