import { RivuletError } from '../base/errors.ts';
import { formatTxid } from '../base/types.ts';
import {
  decodeHeader,
  HEADER_SIZE,
  type LtxHeader,
  type LtxTrailer,
  MIN_FILE_SIZE,
  maxFrameBytes,
} from '../ltx/format.ts';
import { type FrameVisitor, IndexStream } from '../ltx/index-stream.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import { type IndexLocation, locateIndex, readTrailer, TAIL_BYTES } from '../ltx/page-index.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { DamagedFile } from './damage.ts';
import { RangeReader, type ReadContext, readRange } from './range-reader.ts';

/** First guess at how many bytes at its end hold a file's page index: enough for about 7,000 pages, or for a small file whole; */
export const TAIL_GUESS_BYTES = 64 * 1024;
/** in large files this part of them, as long as the pages take 2 KiB there on average; */
const TAIL_GUESS_PART = 1 / 256;
/** and no more than this. */
const MAX_TAIL_GUESS_BYTES = 1024 * 1024;
/** Longer indexes are read in pieces of this size, */
const INDEX_PIECE_BYTES = 256 * 1024;
/** and asked for in pieces of this size: a reading may stop anywhere. */
const INDEX_REQUEST_BYTES = 16 * 1024 * 1024;

/** What has been read of a planned file. */
export interface OpenedFile {
  readonly index: PlannedIndex;
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

/** What both ends of a planned file say. */
export interface FileEnds {
  readonly header: LtxHeader;
  readonly trailer: LtxTrailer;
  /** The last bytes of the file: all of them where it is small. */
  readonly tail: Uint8Array;
}

/** Reads and checks both ends of a planned file: one request for a small one, two at a time for a large one. */
export async function readEnds(context: ReadContext, file: LtxFileInfo): Promise<FileEnds> {
  return naming(file, async () => {
    const guess = Math.min(Math.max(file.sizeBytes * TAIL_GUESS_PART, TAIL_GUESS_BYTES), MAX_TAIL_GUESS_BYTES);
    const tail = new Uint8Array(Math.min(file.sizeBytes, Math.ceil(guess)));
    const isWhole = tail.length === file.sizeBytes;
    const [known] = await Promise.all([
      isWhole ? undefined : readHeader(context, file),
      readRange(context, file.key, file.sizeBytes - tail.length, tail),
    ]);
    const header = known ?? checkedHeader(tail, file);
    return { header, trailer: readTrailer(tail, header), tail };
  });
}

/** Finds the page index of a planned file; `visit` will be told of the page frames. */
export async function openFile(
  context: ReadContext,
  file: LtxFileInfo,
  { header, tail }: FileEnds,
  visit: FrameVisitor,
): Promise<OpenedFile> {
  return naming(file, async () => ({
    index: new PlannedIndex(context, file, header, tail, visit),
    whole: tail.length === file.sizeBytes ? tail : undefined,
  }));
}

/** The page index of a planned file, read from the store as far as it is needed, and on from there the next time. */
export class PlannedIndex {
  readonly #context: ReadContext;
  readonly #file: LtxFileInfo;
  readonly #location: IndexLocation;
  readonly #stream: IndexStream;
  /** The file's last bytes, while they are kept. */
  #tail: Uint8Array | undefined;

  constructor(context: ReadContext, file: LtxFileInfo, header: LtxHeader, tail: Uint8Array, visit: FrameVisitor) {
    this.#context = context;
    this.#file = file;
    this.#tail = tail;
    this.#location = locateIndex(tail, file.sizeBytes);
    this.#stream = new IndexStream(this.#location, header, (pgno, offset, length) => {
      if (length > maxFrameBytes(header.pageSize)) {
        throw new LtxError('index', `the frame of page ${pgno} cannot be ${length} bytes long`);
      }
      visit(pgno, offset, length);
    });
  }

  /** Tells of the frames of all further pages up to `until`; without it to the end, which is then checked. */
  async read(until: number = Number.POSITIVE_INFINITY): Promise<void> {
    await naming(this.#file, async () => {
      while (this.#stream.hasUpTo(until) && this.#leftBytes > 0) {
        const kept = this.#kept();
        if (kept) this.#stream.push(kept, until);
        else await this.#request(until);
      }
      if (until === Number.POSITIVE_INFINITY || this.#leftBytes === 0) this.#stream.end();
    });
  }

  /** Gives the memory back; what it held is asked for again when it is needed. */
  release(): void {
    this.#tail = undefined;
  }

  get #leftBytes(): number {
    return this.#location.size - this.#stream.bytesRead;
  }

  /** Where in the file the next bytes are. */
  get #offset(): number {
    return this.#location.offset + this.#stream.bytesRead;
  }

  /** The rest of the index, if it is in memory. */
  #kept(): Uint8Array | undefined {
    const tail = this.#tail;
    const inTail = this.#offset - (this.#file.sizeBytes - (tail?.length ?? 0));
    return tail && inTail >= 0 ? tail.subarray(inTail, tail.length - TAIL_BYTES) : undefined;
  }

  async #request(until: number): Promise<void> {
    const beforeTail = this.#file.sizeBytes - (this.#tail?.length ?? 0) - this.#offset;
    const length = Math.min(this.#leftBytes, beforeTail, INDEX_REQUEST_BYTES);
    const reader = new RangeReader(this.#context, this.#file.key, this.#offset, length);
    try {
      const piece = new Uint8Array(Math.min(length, INDEX_PIECE_BYTES));
      for (let left = length; left > 0 && this.#stream.hasUpTo(until); left -= piece.length) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        await reader.fill(part);
        this.#stream.push(part, until);
      }
    } finally {
      await reader.close();
    }
  }
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

/** The error for files that do not add up to a database of pages of the last one's size. */
export function pageSizeMismatch(
  header: LtxHeader,
  file: LtxFileInfo,
  last: LtxHeader,
  lastFile: LtxFileInfo,
): RivuletError {
  return new RivuletError({
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
