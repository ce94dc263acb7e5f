import { assert } from '../base/errors.ts';
import { type DecodeStep, LtxDecoder } from '../ltx/decoder.ts';
import type { LtxHeader } from '../ltx/format.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import type { PageBatch } from '../ltx/page-batch.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { DamagedFile } from './damage.ts';
import { checkName } from './planned-file.ts';
import { type PrefetchOptions, prefetch } from './prefetch.ts';
import { type ReadContext, readRange } from './range-reader.ts';

export interface WholeFetch {
  /** In the order of the plan. */
  readonly files: readonly LtxFileInfo[];
  readonly context: ReadContext;
  readonly prefetch: PrefetchOptions;
  onHeader(header: LtxHeader, file: LtxFileInfo): void;
  /** Pages of a file whose checksum has not been seen yet: trust them only when all has been read. */
  onPages(batch: PageBatch, count: number): void;
  onRange(lengthBytes: number): void;
}

interface FilePiece {
  readonly file: LtxFileInfo;
  readonly offset: number;
  readonly length: number;
}

/** Reads every file whole, the newest first, and proves each one by its file checksum. */
export async function readWholeFiles(job: WholeFetch): Promise<void> {
  const pieces = prefetch(filePieces(job), job.prefetch, (piece, target, signal) =>
    readRange({ ...job.context, signal }, piece.file.key, piece.offset, target),
  );
  let decoder: FileDecoder | undefined;
  try {
    for await (const { piece, region } of pieces) {
      if (piece.offset === 0) decoder = new FileDecoder(piece.file, job);
      assert(decoder, 'the first piece of a file comes first');
      decoder.push(region.bytes.subarray(0, piece.length));
      if (piece.offset + piece.length === piece.file.sizeBytes) {
        decoder.end();
        decoder[Symbol.dispose]();
        decoder = undefined;
      }
      job.onRange(piece.length);
    }
  } finally {
    decoder?.[Symbol.dispose]();
  }
}

function* filePieces(job: WholeFetch): Generator<FilePiece> {
  for (const file of job.files.toReversed()) {
    for (let offset = 0; offset < file.sizeBytes; offset += job.prefetch.bufferBytes) {
      yield { file, offset, length: Math.min(job.prefetch.bufferBytes, file.sizeBytes - offset) };
    }
  }
}

/** Decodes one file, piece by piece; what is wrong with it is thrown as a {@link DamagedFile}. */
class FileDecoder {
  readonly #file: LtxFileInfo;
  readonly #job: WholeFetch;
  readonly #decoder = new LtxDecoder();
  #sawHeader = false;
  #done = false;

  constructor(file: LtxFileInfo, job: WholeFetch) {
    this.#file = file;
    this.#job = job;
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#done) throw new DamagedFile(this.#file, new LtxError('trailing', 'bytes after the trailer'));
      const room = this.#decoder.room();
      const part = bytes.subarray(at, at + room.length);
      room.set(part);
      this.#decoder.advance(part.length);
      at += part.length;
      this.#drain();
    }
  }

  end(): void {
    if (this.#done) return;
    this.#decoder.end();
    this.#drain();
  }

  [Symbol.dispose](): void {
    this.#decoder[Symbol.dispose]();
  }

  /** Takes steps until the decoder needs more bytes, or has all. */
  #drain(): void {
    try {
      for (let step = this.#step(); step.kind === 'pages'; step = this.#step()) {
        this.#job.onPages(step.batch, step.count);
      }
    } catch (error) {
      throw error instanceof LtxError ? new DamagedFile(this.#file, error) : error;
    }
  }

  #step(): DecodeStep {
    const step = this.#decoder.next();
    const { header } = this.#decoder;
    if (header && !this.#sawHeader) {
      this.#sawHeader = true;
      checkName(header, this.#file);
      this.#job.onHeader(header, this.#file);
    }
    this.#done = step.kind === 'done';
    return step;
  }
}
