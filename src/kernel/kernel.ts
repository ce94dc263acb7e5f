import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { assert, RivuletError } from '../base/errors.ts';

/*
 * The per-byte work, on batches of pages: one call a batch, nothing per page crosses into WebAssembly. All bytes live in
 * one shared memory per thread, so files are read straight into it and a later worker can be handed the same memory.
 */

/** Bytes that every region carries before and after itself, so that kernels may read and write a little past its ends. */
const SLACK = 64;
const WASM_PAGE = 65_536;
/** Most memory that one thread's kernels can use, in bytes; must match the build (scripts/build-kernel.ts). */
export const KERNEL_MEMORY_LIMIT = 16_384 * WASM_PAGE;

interface Exports {
  /** Twice as fast as between two views: memory that threads share is copied word by word there. */
  copy(dst: number, src: number, n: number): void;
  crc(crc: bigint, p: number, n: number): bigint;
  crc_combine(a: bigint, b: bigint, lengthB: bigint): bigint;
  hash_pages(src: number, pageSize: number, count: number, pgnos: number, lockPgno: number, out: number): bigint;
  encode_pages(
    kind: number,
    src: number,
    pageSize: number,
    count: number,
    pgnos: number,
    dst: number,
    table: number,
    hashes: number,
    lengths: number,
    crcAt: number,
  ): number;
  decode_stream(
    src: number,
    n: number,
    dst: number,
    pageSize: number,
    capPages: number,
    commit: number,
    lockPgno: number,
    pgnos: number,
    lengths: number,
    hashes: number,
    crcAt: number,
    info: number,
  ): number;
  decode_list(
    src: number,
    offsets: number,
    lengths: number,
    pgnos: number,
    count: number,
    dst: number,
    pageSize: number,
    hashes: number,
    info: number,
  ): number;
  wal_checksum(p: number, n: number, bigEndian: number, sums: number): void;
  wal_frames(
    src: number,
    pageSize: number,
    count: number,
    bigEndian: number,
    salts: number,
    sums: number,
    out: number,
  ): number;
  xxh32(p: number, n: number): number;
  lz4_compress(src: number, n: number, dst: number, table: number): number;
  lz4_decompress(src: number, n: number, dst: number, cap: number): number;
}

/** A piece of kernel memory. Views stay valid for its life (the memory is shared, so growing never detaches them). */
export class Region {
  /** Address in kernel memory, a multiple of 16. */
  readonly pointer: number;
  readonly byteLength: number;
  readonly bytes: Uint8Array;
  readonly #release: () => void;

  constructor(memory: ArrayBufferLike, pointer: number, byteLength: number, release: () => void) {
    this.pointer = pointer;
    this.byteLength = byteLength;
    this.bytes = new Uint8Array(memory, pointer, byteLength);
    this.#release = release;
  }

  get u32(): Uint32Array {
    return new Uint32Array(this.bytes.buffer, this.pointer, this.byteLength >>> 2);
  }

  get u64(): BigUint64Array {
    return new BigUint64Array(this.bytes.buffer, this.pointer, this.byteLength >>> 3);
  }

  /** Gives the memory back. The region is not used afterwards. */
  [Symbol.dispose](): void {
    this.#release();
  }
}

/** WebAssembly kernels with their memory; one per thread, see {@link kernel}. */
export class Kernel {
  readonly fn: Exports;
  readonly #memory: WebAssembly.Memory;
  readonly #code: Uint8Array<ArrayBuffer>;
  readonly #free = new Map<number, number[]>();
  #top = WASM_PAGE; // the first page stays unused, so that 0 is never a valid address

  /** `code`: the compiled kernels. */
  constructor(code: Uint8Array<ArrayBuffer>) {
    this.#memory = new WebAssembly.Memory({ initial: 1, maximum: KERNEL_MEMORY_LIMIT / WASM_PAGE, shared: true });
    this.#code = code;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { memory: this.#memory } });
    this.fn = instance.exports as unknown as Exports; // the build exports exactly these
  }

  /** What another thread needs to work on this memory: see {@link attachKernel}. */
  share(): SharedKernel {
    return { code: this.#code, memory: this.#memory };
  }

  /** Takes memory: at least `byteLength` bytes, zeroed only when fresh. Dispose of it when done. */
  allocate(byteLength: number): Region {
    const size = sizeClass(byteLength + 2 * SLACK);
    const start = this.#free.get(size)?.pop() ?? this.#extend(size);
    let released = false;
    return new Region(this.#memory.buffer, start + SLACK, byteLength, () => {
      assert(!released, 'a kernel region is released once');
      released = true;
      const list = this.#free.get(size);
      if (list) list.push(start);
      else this.#free.set(size, [start]);
    });
  }

  #extend(size: number): number {
    const start = this.#top;
    const end = start + size;
    if (end > KERNEL_MEMORY_LIMIT) {
      throw new RivuletError({
        code: 'MEMORY_LIMIT',
        message: `page buffers would exceed ${KERNEL_MEMORY_LIMIT} bytes`,
      });
    }
    const missing = end - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / WASM_PAGE));
    this.#top = end;
    return start;
  }
}

/** The kernels' code and one thread's memory, on their way to another thread. */
export interface SharedKernel {
  readonly code: Uint8Array<ArrayBuffer>;
  readonly memory: unknown;
}

/** Kernels that work on the memory of another thread, which alone gives out pieces of it. */
export function attachKernel(shared: SharedKernel): Pick<Kernel, 'fn'> {
  const memory = shared.memory as WebAssembly.Memory; // Kernel.share put it there
  const instance = new WebAssembly.Instance(new WebAssembly.Module(shared.code), { env: { memory } });
  return { fn: instance.exports as unknown as Exports }; // the build exports exactly these
}

/** Powers of two and the three steps between them: few classes, so regions are found again, and at most a quarter is lost. */
function sizeClass(bytes: number): number {
  const step = Math.max(64, 2 ** Math.floor(Math.log2(bytes)) / 4);
  return Math.ceil(bytes / step) * step;
}

let instance: Kernel | undefined;

/** This thread's kernels, loaded on first use (under a millisecond). */
export function kernel(): Kernel {
  instance ??= new Kernel(readFileSync(kernelFile()));
  return instance;
}

function kernelFile(): string {
  // Packed: beside the compiled module. In a checkout: where the install builds it.
  for (const place of ['./kernel.wasm', '../../build/kernel.wasm']) {
    const file = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(file)) return file;
  }
  throw new RivuletError({
    code: 'KERNEL_MISSING',
    message: 'the page kernels (kernel.wasm) are missing from this installation',
    next: 'in a checkout run `npm install`; otherwise install rivulet again',
  });
}
