import { tmpdir } from 'node:os';
import { CHECKSUM_FLAG, type Checksum, checksum, txid } from '../../src/base/types.ts';
import { LtxDecoder } from '../../src/ltx/decoder.ts';
import { EncodePool } from '../../src/ltx/encode-pool.ts';
import { LtxEncoder } from '../../src/ltx/encoder.ts';
import { FLAG_NO_CHECKSUM, HEADER_SIZE, type LtxHeader, type LtxTrailer, NO_WAL_RANGE } from '../../src/ltx/format.ts';
import { batchCapacity } from '../../src/ltx/page-batch.ts';
import type { PageEncoding } from '../../src/ltx/page-encoder.ts';

export interface Page {
  readonly pgno: number;
  readonly bytes: Uint8Array;
}

export function header(fields: Partial<LtxHeader> & Pick<LtxHeader, 'pageSize' | 'commit'>): LtxHeader {
  return {
    flags: FLAG_NO_CHECKSUM,
    minTxid: txid(1),
    maxTxid: txid(1),
    timestampMs: 1_700_000_000_000,
    preApplyChecksum: checksum(0n),
    wal: NO_WAL_RANGE,
    nodeId: 0n,
    databaseChecksum: checksum(0n),
    ...fields,
  };
}

/** Makes an LTX file in memory, `batchPages` pages at a time. */
export function makeLtx(
  head: LtxHeader,
  pages: readonly Page[],
  options: { encoding?: PageEncoding; batchPages?: number; threads?: number; postApplyChecksum?: Checksum } = {},
): Buffer {
  using encoder = new LtxEncoder({ ...head, scratchFolder: tmpdir() });
  using pool = new EncodePool(head.pageSize, options.encoding ?? 'block', options.threads ?? 0);
  const step = options.batchPages ?? batchCapacity(head.pageSize);
  const parts: Uint8Array[] = [];
  const takeOne = (): boolean => {
    const encoded = pool.take();
    if (encoded) {
      encoder.append(encoded);
      parts.push(Uint8Array.from(encoded.bytes));
    }
    return encoded !== undefined;
  };
  for (let at = 0; at < pages.length; at += step) {
    const some = pages.slice(at, at + step);
    let batch = pool.batch();
    for (; !batch; batch = pool.batch()) takeOne();
    for (const [i, page] of some.entries()) {
      batch.pgnos[i] = page.pgno;
      batch.bytes.set(page.bytes, i * head.pageSize);
    }
    pool.submit(some.length);
  }
  while (takeOne());
  const done = encoder.finish(head, (bytes) => parts.push(Uint8Array.from(bytes)), options.postApplyChecksum);
  const file = Buffer.concat([done.head, ...parts]);
  if (file.length !== done.sizeBytes || done.head.length !== HEADER_SIZE)
    throw new Error('the encoder misstates sizes');
  return file;
}

export interface ReadLtx {
  readonly header: LtxHeader;
  readonly trailer: LtxTrailer;
  readonly pages: Page[];
  readonly databaseXor: bigint;
}

/** Reads an LTX file, fed in pieces of `pieceBytes`. */
export function readLtx(file: Uint8Array, pieceBytes = 1 << 20): ReadLtx {
  using decoder = new LtxDecoder();
  const pages: Page[] = [];
  let at = 0;
  let xor = 0n;
  for (;;) {
    const step = decoder.next();
    if (step.kind === 'done') {
      if (!decoder.header) throw new Error('done without a header');
      return { header: decoder.header, trailer: step.trailer, pages, databaseXor: xor | CHECKSUM_FLAG };
    }
    if (step.kind === 'pages') {
      for (let i = 0; i < step.count; i++) {
        pages.push({ pgno: step.batch.pgnos[i] ?? 0, bytes: Uint8Array.from(step.batch.slice(i, 1)) });
        xor ^= step.batch.hashes[i] ?? 0n;
      }
      continue;
    }
    const piece = file.subarray(at, at + Math.min(pieceBytes, decoder.room().length));
    decoder.room().set(piece);
    decoder.advance(piece.length);
    at += piece.length;
    if (at === file.length) decoder.end();
  }
}
