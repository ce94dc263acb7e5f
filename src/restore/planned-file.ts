import { RivuletError } from '../base/errors.ts';
import { formatTxid } from '../base/types.ts';
import { decodeHeader, HEADER_SIZE, type LtxHeader, MIN_FILE_SIZE } from '../ltx/format.ts';
import { type FrameVisitor, IndexStream } from '../ltx/index-stream.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import { locateIndex, readTrailer, TAIL_BYTES } from '../ltx/page-index.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { DamagedFile } from './damage.ts';
import { RangeReader, type ReadContext, readRange } from './range-reader.ts';

/** First guess at how many bytes hold a file's page index: enough for about 7,000 pages, or for a small file whole. */
export const TAIL_GUESS_BYTES = 64 * 1024;
/** Longer indexes are read in pieces of this size. */
const INDEX_PIECE_BYTES = 256 * 1024;

/** What has been read of a planned file. */
export interface OpenedFile {
  readonly header: LtxHeader;
  /** All of it, when it is so small that it came along with its index. */
  readonly whole: Uint8Array | undefined;
}

/** Reads and checks the header of a planned file. */
export async function readHeader(context: ReadContext, file: LtxFileInfo): Promise<LtxHeader> {
  return naming(file, async () => {
    const bytes = new Uint8Array(HEADER_SIZE);
    await readRange(context, file.key, 0, bytes);
    return checkedHeader(bytes, file);
  });
}

/**
 * Reads header and page index of a planned file: one request for a small one, two or three for a large one. `onHeader` looks at
 * the header and says who is to be told of the page frames.
 */
export async function openFile(
  context: ReadContext,
  file: LtxFileInfo,
  onHeader: (header: LtxHeader) => FrameVisitor,
): Promise<OpenedFile> {
  return naming(file, async () => {
    const tail = new Uint8Array(Math.min(file.sizeBytes, TAIL_GUESS_BYTES));
    const isWhole = tail.length === file.sizeBytes;
    const [header] = await Promise.all([
      isWhole ? undefined : readHeader(context, file),
      readRange(context, file.key, file.sizeBytes - tail.length, tail),
    ]);
    const known = header ?? checkedHeader(tail, file);
    readTrailer(tail, known);
    await readIndex(context, file, known, tail, onHeader(known));
    return { header: known, whole: isWhole ? tail : undefined };
  });
}

async function readIndex(
  context: ReadContext,
  file: LtxFileInfo,
  header: LtxHeader,
  tail: Uint8Array,
  visit: FrameVisitor,
): Promise<void> {
  const location = locateIndex(tail, file.sizeBytes);
  const stream = new IndexStream(location, header, (pgno, offset, length) => {
    if (length > maxFrameBytes(header.pageSize)) {
      throw new LtxError('index', `the frame of page ${pgno} cannot be ${length} bytes long`);
    }
    visit(pgno, offset, length);
  });
  const inTail = location.offset - (file.sizeBytes - tail.length);
  if (inTail >= 0) {
    stream.push(tail.subarray(inTail, tail.length - TAIL_BYTES));
  } else {
    const reader = new RangeReader(context, file.key, location.offset, -inTail);
    try {
      const piece = new Uint8Array(Math.min(-inTail, INDEX_PIECE_BYTES));
      for (let left = -inTail; left > 0; left -= piece.length) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        await reader.fill(part);
        stream.push(part);
      }
    } finally {
      await reader.close();
    }
    stream.push(tail.subarray(0, tail.length - TAIL_BYTES));
  }
  stream.end();
}

/** No page frame is longer, whatever wrote it: an incompressible page takes its own size and a little dressing. */
export function maxFrameBytes(pageSize: number): number {
  return 2 * pageSize + 64;
}

/** Refuses a file that its listing already shows to be torn. Called before anything of the file is read. */
export function checkSize(file: LtxFileInfo): void {
  if (file.sizeBytes >= MIN_FILE_SIZE) return;
  throw new DamagedFile(file, new LtxError('truncated', `${file.sizeBytes} bytes are too few for an LTX file`));
}

function checkedHeader(bytes: Uint8Array, file: LtxFileInfo): LtxHeader {
  const header = decodeHeader(bytes);
  checkName(header, file);
  return header;
}

/** A file under another's name would put its pages in the wrong place of the history. */
export function checkName(header: LtxHeader, file: LtxFileInfo): void {
  if (header.minTxid === file.minTxid && header.maxTxid === file.maxTxid) return;
  const inside = `${formatTxid(header.minTxid)} to ${formatTxid(header.maxTxid)}`;
  throw new LtxError('header', `TXID: it holds ${inside}, which is not what its name says`);
}

/** All files of one database have pages of one size. */
export function checkPageSize(header: LtxHeader, file: LtxFileInfo, last: LtxHeader, lastFile: LtxFileInfo): void {
  if (header.pageSize === last.pageSize) return;
  throw new RivuletError({
    code: 'PAGE_SIZE_MISMATCH',
    message:
      `${file.key} has pages of ${header.pageSize} bytes and ${lastFile.key} of ${last.pageSize}: ` +
      'they are not of one database',
    kept: 'nothing was changed',
    next: 'restore to a TXID before the page size changed, with -txid',
  });
}

/** Runs `work` so that damage found in it carries the file's name. */
export async function naming<T>(file: LtxFileInfo, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof LtxError ? new DamagedFile(file, error) : error;
  }
}
