import { CHECKSUM_FLAG } from '../../src/base/types.ts';
import { crcOf } from '../../src/ltx/encoder.ts';
import { imagePageCount, parseLtxName } from '../../src/ltx/format.ts';
import { FILE_LAYOUT, LEVELS } from '../../src/replica/layout.ts';
import { planRestore } from '../../src/replica/plan.ts';
import type { LtxFileInfo } from '../../src/replica/replica.ts';
import { readLtx } from '../support/ltx.ts';

/** What a restore gives at some TXID. */
export interface RestoredState {
  readonly txid: bigint;
  readonly pageSize: number;
  readonly image: Buffer;
  /** The checksum of all pages, as the file has it, is right. */
  readonly isProven: boolean;
}

/** What it gives after one more level 0 file; undefined where that file would mix pages of two sizes. */
export function afterFile(before: RestoredState | undefined, file: Buffer): RestoredState | undefined {
  const { header, pages } = readLtx(file);
  const { pageSize, commit, maxTxid } = header;
  const isImage = pages.length === imagePageCount(commit, pageSize);
  if (before && before.pageSize !== pageSize && !isImage) return undefined;
  const image = Buffer.alloc(commit * pageSize);
  if (before && !isImage) before.image.copy(image);
  for (const page of pages) image.set(page.bytes, (page.pgno - 1) * pageSize);
  return { txid: maxTxid, pageSize, image, isProven: checksumOf(image, pageSize) === header.databaseChecksum };
}

/** The rolling checksum of a database: the XOR of those of its pages. */
function checksumOf(image: Buffer, pageSize: number): bigint {
  let xor = 0n;
  for (let pgno = 1; pgno * pageSize <= image.length; pgno++) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(pgno);
    xor ^= CHECKSUM_FLAG | crcOf(crcOf(0n, number), image.subarray((pgno - 1) * pageSize, pgno * pageSize));
  }
  return xor | CHECKSUM_FLAG;
}

/** Whether Litestream, which merges all files of a plan, can restore the newest state. */
export function canBeMerged(objects: ReadonlyMap<string, { readonly bytes: Buffer }>): boolean {
  const { files } = planRestore([...objects.entries()].flatMap(([key, { bytes }]) => infoOf(key, bytes) ?? []));
  const sizes = files.map(({ key }) => readLtx(objects.get(key)?.bytes ?? Buffer.alloc(0)).header.pageSize);
  return new Set(sizes).size === 1;
}

function infoOf(key: string, bytes: Buffer): LtxFileInfo | undefined {
  const level = LEVELS.find((candidate) => key.startsWith(FILE_LAYOUT.levelPrefix(candidate)));
  if (level === undefined) return undefined;
  const name = parseLtxName(key.slice(FILE_LAYOUT.levelPrefix(level).length));
  return name && { level, ...name, sizeBytes: bytes.length, createdMs: 0, key };
}
