import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

/*
 * Mistakes that others made, or that we nearly made. A simulation that does not find them proves nothing.
 */

interface Mutation {
  readonly file: string;
  /** Each text stands there exactly once, and is replaced. */
  readonly edits: readonly (readonly [text: string, replacement: string])[];
  /** In another file. */
  readonly also?: Mutation;
}

const FOLLOWER = 'src/capture/wal-follower.ts';
const HANDOVER = 'src/capture/handover.ts';

export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'trusts an old frame that is still there': {
    file: FOLLOWER,
    edits: [
      [
        `    using wal = this.openWal();
    const cursor = await cursorFrom(saved, head, wal);
    if (!cursor || !(await this.#fileHoldsBeside(known, head, wal))) return false;`,
        `    const salts = Uint8Array.from(Buffer.from(saved.salts, 'hex'));
    const frame = new Uint8Array(24);
    readSync(this.#handles.walFd, frame, 0, 24, frameOffset(saved.frames - 1, this.pageSize));
    if (saved.frames === 0 || !saltsEqual(salts, frame.subarray(8, 16))) return false;
    const cursor = { salts, frames: saved.frames, sums: saved.sums };`,
      ],
      [' || saved.version === undefined || saved.version !== this.fileVersion) return false;', ') return false;'],
      [
        'this.#restartable = head.mxFrame === head.backfilled && head.mxFrame === cursor.frames;',
        'this.#restartable = true;',
      ],
      [
        "import type { WalPosition } from '../replica/local-state.ts';",
        "import { readSync } from 'node:fs';\nimport type { WalPosition } from '../replica/local-state.ts';",
      ],
    ],
  },
  'infers from salts that one generation follows another': {
    file: FOLLOWER,
    edits: [
      [' || saved.version === undefined || saved.version !== this.fileVersion) return false;', ') return false;'],
    ],
    also: {
      file: 'src/capture/continuation.ts',
      edits: [
        [
          '    return saved.isWhole ? {',
          '    return Buffer.from(head.salts).readUInt32BE() === Buffer.from(salts).readUInt32BE() + 1 ? {',
        ],
      ],
    },
  },
  'goes on although the database file was written to': {
    file: FOLLOWER,
    edits: [[' || saved.version !== this.fileVersion) return false;', ') return false;']],
  },
  'lets pages be overwritten that it has still to read': {
    file: FOLLOWER,
    edits: [['    this.#beside?.keep(new Set(Array.from({ length: wal.count }, (_, i) => wal.pgno(i))));\n', '']],
  },
  'lets the read go while it has to read pages that the database no longer has': {
    file: FOLLOWER,
    edits: [['this.#beside?.unkeptBytes(this.#fewestPages) ?? 0', 'this.#beside?.unkeptBytes(2 ** 32) ?? 0']],
  },
  'lets the read go while it has to read pages that are only in the WAL': {
    file: 'src/capture/snapshot-reader.ts',
    edits: [['return (this.#frames.size + ', 'return (0 + ']],
  },
  'takes what came while it read for a part of what it read': {
    file: 'src/capture/l0-maker.ts',
    edits: [['const hasMoved = follower.cursor !== cursor;', 'const hasMoved = follower.cursor === undefined;']],
  },
  'hands over without a barrier': {
    file: HANDOVER,
    edits: [["    if (!this.raiseBarrier(isUrgent)) return 'busy';\n", '']],
  },
  'ends the old read before it begins the new one': {
    file: FOLLOWER,
    edits: [
      [
        '    const { twin, reader } = this.#handles;\n    twin.beginRead();',
        '    const { twin, reader } = this.#handles;\n    reader.end();\n    twin.beginRead();',
      ],
    ],
  },
  'closes a connection that writes last': {
    file: 'src/capture/connections.ts',
    edits: [
      [
        'const connections = [this.#barrier, this.#checkpointer, this.#twin];',
        'const connections = [this.#barrier, this.#twin];',
      ],
      ['    this.#checkpointer = undefined;\n', ''],
      [
        '() => this.reader.endAndClose(), ...',
        '() => this.reader.endAndClose(), () => this.#checkpointer?.endAndClose(), ...',
      ],
    ],
  },
  'tells of a file before it is on the disk': {
    file: 'src/capture/l0-writer.ts',
    edits: [['    fs.fsyncSync(this.#fd);\n', '']],
  },
  'takes a WAL for handed over although a commit came in': {
    file: FOLLOWER,
    edits: [
      [
        'this.#noteRestartable(head.backfilled === head.mxFrame);',
        'this.#noteRestartable(head.backfilled > 0 && head.backfilled <= head.mxFrame);',
      ],
    ],
  },
  'leaves the barrier up where much came in': {
    file: HANDOVER,
    edits: [
      [
        '      barrier.end();\n      this.#gauges.addBarrier',
        '      if (isDone) barrier.end();\n      this.#gauges.addBarrier',
      ],
    ],
  },
  'cuts a file before it has copied the pages': {
    file: FOLLOWER,
    edits: [['      this.pending.copy(wal);\n      this.#cursor', '      this.#cursor']],
  },
  'tells of a file before it is recorded': {
    file: 'src/capture/l0-maker.ts',
    edits: [
      ['    this.#listener.spooled(file);\n', ''],
      ['    try {\n      record(position);', '    this.#listener.spooled(file);\n    try {\n      record(position);'],
    ],
  },
  'keeps stored files while there is no room': {
    file: 'src/capture/room.ts',
    edits: [['    this.#maker.dropStored();\n', '']],
  },
  'keeps files that are not stored while there is no room': {
    file: 'src/capture/room.ts',
    edits: [['    this.#share.relieve(isFull);\n', '']],
  },
  'takes pages of files that were given up for stored': {
    file: 'src/capture/l0-maker.ts',
    edits: [['        if (pgno <= hashes.pageCount) hashes.set(pgno, 0n);\n', '']],
  },
  'takes a file that it had given up for the one that it made since': {
    file: 'src/daemon/uploader.ts',
    edits: [['if (theirs === given.fileChecksum) return given;', 'if (theirs === given.fileChecksum) return file;']],
  },
  'says that all is stored where it was given up': {
    file: 'src/daemon/database-replication.ts',
    edits: [
      [
        'if (drained && !this.#givingUp && timesGivenUp === this.#timesGivenUp) return txid;',
        'if (drained) return txid;',
      ],
    ],
  },
  'leaves the hash of page 1 unknown and goes on': {
    file: 'src/capture/room.ts',
    edits: [["    this.suspend('files that were not stored were given up', follower);\n", '']],
  },
  'makes no checkpoints while there is no room': {
    file: 'src/capture/room.ts',
    edits: [['      if (follower) this.#keeper.look(follower);\n', '']],
  },
  'ends a file in the middle of a transaction': {
    file: FOLLOWER,
    edits: [
      ["    if (most < until) return 'some';\n", "    if (most < until) return 'file';\n"],
      ['    return !this.#isInside;\n', '    return true;\n'],
    ],
  },
  'lets go of a database when there is no room at the start': {
    file: 'src/capture/database-capture.ts',
    edits: [['if (!this.#follower || !hasCode(error, ...DISK_FULL_CODES)) this.#detach();', 'this.#detach();']],
  },
  'records what may be gone after a power loss': {
    file: 'src/replica/local-state.ts',
    edits: [['      fsyncFolder(this.#metaPath);\n    }\n    return this.#fd;', '    }\n    return this.#fd;']],
  },
  'tells of a file before its name is on the disk': {
    file: 'src/capture/l0-writer.ts',
    edits: [['    fsyncFolder(dirname(this.#path));\n', '']],
  },
  'compares pages of two sizes': {
    file: 'src/capture/l0-maker.ts',
    edits: [['this.#position?.pageSize !== pageSize', '!this.#position']],
  },
  'stores the snapshot of an image whose TXID is not taken yet': {
    file: 'src/daemon/uploader.ts',
    edits: [
      [
        '    if (this.#previous !== file) {\n',
        `    if (needsSnapshot(file)) await storeSnapshot(this.#store, this.#layout, file, signal);
    if (this.#previous !== file) {\n`,
      ],
    ],
  },
  'forgets the snapshot that a dead process had not stored': {
    file: 'src/daemon/starting-point.ts',
    edits: [
      ['if (imageTxid === undefined || hasSnapshotSince(files, imageTxid)) return unstored;', 'return unstored;'],
    ],
  },
  'leaves the WAL alone while the store is away at a start': {
    file: 'src/capture/caretaker.ts',
    edits: [['      this.#keeper.look(this.#follower);\n', '']],
  },
};

/** Limits that the small transactions of a simulation would never reach. */
const SMALL_LIMITS: readonly Mutation[] = [
  {
    file: HANDOVER,
    edits: [
      ['const BARRIER_BYTES = 1024 * 1024;', 'const BARRIER_BYTES = 4 * 1024;'],
      ['const MET_BYTES = 4 * 1024 * 1024;', 'const MET_BYTES = 1024;'],
      ['const MUCH_BYTES = 16 * 1024 * 1024;', 'const MUCH_BYTES = 16 * 1024;'],
    ],
  },
  { file: 'src/capture/disk-share.ts', edits: [['LITTLE_BYTES = 1024 * 1024;', 'LITTLE_BYTES = 2 * 1024;']] },
  { file: 'src/capture/file-proof.ts', edits: [['SAMPLED_PAGES = 256;', 'SAMPLED_PAGES = 4;']] },
  { file: 'src/capture/wal-reader.ts', edits: [['TURN_BYTES = 8 * 1024 * 1024;', 'TURN_BYTES = 16 * 1024;']] },
  { file: 'src/capture/l0-maker.ts', edits: [['TURN_BYTES = 8 * 1024 * 1024;', 'TURN_BYTES = 16 * 1024;']] },
  {
    file: 'src/capture/database-capture.ts',
    edits: [
      ['SLICE_BYTES = 8 * 1024 * 1024;', 'SLICE_BYTES = 4 * 1024;'],
      ['BACKLOG_BYTES = 64 * 1024 * 1024;', 'BACKLOG_BYTES = 32 * 1024;'],
    ],
  },
  {
    // In the same thread: what happens follows from the seed alone.
    file: 'src/capture/checkpoint-elsewhere.ts',
    edits: [
      ['import { Worker } from', "import { checkpointOnce } from './connections.ts';\nimport { Worker } from"],
      ['  return new Promise(', '  if (work) return checkpointOnce(work);\n  return new Promise('],
    ],
  },
  { file: 'src/ltx/page-batch.ts', edits: [['BATCH_BYTES = 1024 * 1024;', 'BATCH_BYTES = 8 * 1024;']] },
  { file: 'src/capture/pending-pages.ts', edits: [['PENDING_BYTES = 8 * 1024 * 1024;', 'PENDING_BYTES = 64 * 1024;']] },
  {
    file: FOLLOWER,
    edits: [
      ['LEFT_TO_SYNC = { few: 8 * 1024 * 1024,', 'LEFT_TO_SYNC = { few: 8 * 1024,'],
      ['KEPT_AT_ONCE_BYTES = 8 * 1024 * 1024;', 'KEPT_AT_ONCE_BYTES = 16 * 1024;'],
    ],
  },
];

function allOf(mutation?: Mutation): readonly Mutation[] {
  return mutation ? [mutation, ...allOf(mutation.also)] : [];
}

/** Has modules be loaded with small limits in them, and with the mistake of this name. Before anything imports them. */
export function mutate(name?: string): void {
  const mutation = name === undefined ? undefined : MUTATIONS[name];
  if (name !== undefined && !mutation) {
    throw new Error(`no such mutation: ${name}; there are: ${Object.keys(MUTATIONS).join(', ')}`);
  }
  const sources = new Map<string, string>();
  for (const { file, edits } of [...SMALL_LIMITS, ...allOf(mutation)]) {
    const url = new URL(`../../${file}`, import.meta.url);
    let source = sources.get(url.href) ?? readFileSync(url, 'utf8');
    for (const [text, replacement] of edits) {
      if (source.split(text).length !== 2) throw new Error(`${file} does not have this text once: ${text}`);
      source = source.replace(text, () => replacement);
    }
    sources.set(url.href, source);
  }
  registerHooks({
    load: (loaded, context, nextLoad) => {
      const source = sources.get(loaded);
      if (source === undefined) return nextLoad(loaded, context);
      return { format: 'module-typescript', source, shortCircuit: true };
    },
  });
}
