import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { kernel, type Region } from '../../src/kernel/kernel.ts';

const { fn } = kernel();
const CANARY = 0xcd;
/** Bytes that a kernel may write past a destination. */
const SLACK = 32;

function withBytes<T>(bytes: Uint8Array, work: (region: Region) => T): T {
  using region = kernel().allocate(bytes.length + 64);
  region.bytes.set(bytes, 32);
  return work(region);
}

function xxh32(bytes: Uint8Array): number {
  return withBytes(bytes, (region) => fn.xxh32(region.pointer + 32, bytes.length) >>> 0);
}

function compress(bytes: Uint8Array): Uint8Array {
  using table = kernel().allocate(8192);
  using target = kernel().allocate(bytes.length + Math.floor(bytes.length / 255) + 16 + SLACK);
  return withBytes(bytes, (source) => {
    const size = fn.lz4_compress(source.pointer + 32, bytes.length, target.pointer, table.pointer);
    return Uint8Array.from(target.bytes.subarray(0, size));
  });
}

/** Decompresses into `capacity` bytes and checks that nothing outside of the slack was written. */
function decompress(block: Uint8Array, capacity: number): Uint8Array | undefined {
  using target = kernel().allocate(capacity + 256);
  target.bytes.fill(CANARY);
  const size = withBytes(block, (source) =>
    fn.lz4_decompress(source.pointer + 32, block.length, target.pointer + 128, capacity),
  );
  for (let i = 0; i < 128; i++) assert.equal(target.bytes[i], CANARY, 'bytes before the destination');
  for (let i = 128 + capacity + SLACK; i < capacity + 256; i++) assert.equal(target.bytes[i], CANARY, 'bytes after it');
  return size < 0 ? undefined : Uint8Array.from(target.bytes.subarray(128, 128 + size));
}

/** LZ4's block format read the plain way, one byte at a time; undefined for what is not one. */
function plainDecompress(block: Uint8Array, capacity: number): Uint8Array | undefined {
  const out: number[] = [];
  let at = 0;
  const length = (first: number): number | undefined => {
    let value = first;
    if (first === 15) {
      for (;;) {
        const byte = block[at++];
        if (byte === undefined) return undefined;
        value += byte;
        if (byte < 255) break;
      }
    }
    return value;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = length(token >> 4);
    if (literals === undefined || at + literals > block.length || out.length + literals > capacity) return undefined;
    for (let i = 0; i < literals; i++) out.push(block[at++] ?? 0);
    if (at === block.length) return Uint8Array.from(out);
    if (at + 2 > block.length) return undefined;
    const offset = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    if (offset === 0 || offset > out.length) return undefined;
    const match = length(token & 15);
    if (match === undefined || out.length + match + 4 > capacity) return undefined;
    for (let i = 0; i < match + 4; i++) out.push(out[out.length - offset] ?? 0);
  }
  return undefined;
}

/** Bytes with repeats at all distances, as pages have. */
const repetitive = fc
  .tuple(
    fc.array(fc.tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 4, max: 300 }), fc.nat({ max: 255 })), {
      maxLength: 40,
    }),
    fc.uint8Array({ maxLength: 80 }),
  )
  .map(([parts, tail]) => {
    const out: number[] = [];
    for (const [distance, length, byte] of parts) {
      out.push(byte);
      for (let i = 0; i < length; i++) out.push(out[out.length - Math.min(distance, out.length)] ?? 0);
    }
    return Uint8Array.from([...out, ...tail]);
  });

const anyBytes = fc.oneof(
  repetitive,
  fc.uint8Array({ maxLength: 3000 }),
  fc.nat({ max: 65_536 }).map((n) => new Uint8Array(n)),
);

interface FrameShape {
  readonly blocks: readonly { readonly bytes: Uint8Array; readonly stored: boolean }[];
  readonly contentSize: boolean;
  readonly blockChecksum: boolean;
  readonly contentChecksum: boolean;
}

/** An LZ4 frame of independent blocks, made by the book. */
function makeFrame(shape: FrameShape): Buffer {
  const content = Buffer.concat(shape.blocks.map((block) => block.bytes));
  const flags = 0x60 | (shape.blockChecksum ? 16 : 0) | (shape.contentSize ? 8 : 0) | (shape.contentChecksum ? 4 : 0);
  const descriptor = Buffer.alloc(shape.contentSize ? 10 : 2);
  descriptor[0] = flags;
  descriptor[1] = 0x40;
  if (shape.contentSize) descriptor.writeBigUInt64LE(BigInt(content.length), 2);
  const parts: Buffer[] = [
    Buffer.from([0x04, 0x22, 0x4d, 0x18]),
    descriptor,
    Buffer.from([(xxh32(descriptor) >>> 8) & 255]),
  ];
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    return bytes;
  };
  for (const block of shape.blocks) {
    const data = Buffer.from(block.stored ? block.bytes : compress(block.bytes));
    parts.push(u32(block.stored ? data.length | 0x8000_0000 : data.length), data);
    if (shape.blockChecksum) parts.push(u32(xxh32(data)));
  }
  parts.push(u32(0));
  if (shape.contentChecksum) parts.push(u32(xxh32(content)));
  return Buffer.concat(parts);
}

/** Decodes one flag-0 page frame of page 7; the verdict, or the page. */
function decodePageFrame(lz4Frame: Uint8Array, pageSize: number): number | Uint8Array {
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 7, 0, 0]), lz4Frame]);
  using lists = kernel().allocate(32);
  using hashes = kernel().allocate(8);
  using page = kernel().allocate(pageSize);
  lists.u32.set([0, frame.length, 7]);
  return withBytes(frame, (source) => {
    const { pointer } = lists;
    const count = fn.decode_list(
      source.pointer + 32,
      pointer,
      pointer + 4,
      pointer + 8,
      1,
      page.pointer,
      pageSize,
      hashes.pointer,
      pointer + 16,
    );
    return count === 1 ? Uint8Array.from(page.bytes) : (new Int32Array(lists.bytes.buffer, pointer + 16, 1)[0] ?? 0);
  });
}

describe('the kernels', () => {
  test('XXH32 gives the published values', () => {
    assert.equal(xxh32(new Uint8Array(0)), 0x02cc_5d05);
    assert.equal(xxh32(Buffer.from('a')), 0x550d_7456);
    assert.equal(xxh32(Buffer.from('abc')), 0x32d1_53ff);
    assert.equal(xxh32(Buffer.from('Nobody inspects the spammish repetition')), 0xe229_3b2f);
  });

  test('the CRC of two parts is combined from theirs', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 900 }), fc.nat(), (bytes, where) => {
        const cut = where % (bytes.length + 1);
        const crc = (part: Uint8Array) => withBytes(part, (region) => fn.crc(0n, region.pointer + 32, part.length));
        const joined = fn.crc_combine(
          crc(bytes.subarray(0, cut)),
          crc(bytes.subarray(cut)),
          BigInt(bytes.length - cut),
        );
        assert.equal(joined, crc(bytes));
      }),
      { numRuns: 200 },
    );
  });

  test('what LZ4 compresses comes back, here and the plain way', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const block = compress(bytes);
        assert.deepEqual(decompress(block, bytes.length), bytes);
        assert.deepEqual(plainDecompress(block, bytes.length), bytes);
      }),
      { numRuns: 400 },
    );
  });

  test('compression depends on the page alone', () => {
    const first = compress(Uint8Array.from({ length: 4096 }, (_, i) => (i * 7) % 61));
    compress(Uint8Array.from({ length: 4096 }, (_, i) => (i * 31) % 251));
    assert.deepEqual(compress(Uint8Array.from({ length: 4096 }, (_, i) => (i * 7) % 61)), first);
  });

  test('a damaged block is refused, or means the same as it does the plain way; nothing outside is written', () => {
    fc.assert(
      fc.property(
        repetitive,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }),
        fc.nat(),
        (bytes, flips, cut) => {
          const block = compress(bytes);
          for (const [at, value] of flips) block[at % block.length] = value;
          const damaged = cut % 3 === 0 ? block.subarray(0, cut % (block.length + 1)) : block;
          assert.deepEqual(decompress(damaged, bytes.length), plainDecompress(damaged, bytes.length));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('LZ4 frames of every make are read: several blocks, stored blocks, sizes and checksums', () => {
    const block = fc.record({ bytes: fc.uint8Array({ minLength: 1, maxLength: 200 }), stored: fc.boolean() });
    const shape = fc.record({
      blocks: fc.array(block, { minLength: 1, maxLength: 5 }),
      contentSize: fc.boolean(),
      blockChecksum: fc.boolean(),
      contentChecksum: fc.boolean(),
    });
    fc.assert(
      fc.property(shape, (frame) => {
        const content = Buffer.concat(frame.blocks.map(({ bytes }) => bytes));
        assert.deepEqual(decodePageFrame(makeFrame(frame), content.length), Uint8Array.from(content));
        assert.ok(typeof decodePageFrame(makeFrame(frame), content.length + 1) === 'number', 'a page too short');
        if (content.length > 1) assert.ok(typeof decodePageFrame(makeFrame(frame), content.length - 1) === 'number');
      }),
      { numRuns: 300 },
    );
  });

  test('a changed byte of an LZ4 frame with a content checksum is noticed, or changes nothing', () => {
    const bytes = Uint8Array.from({ length: 512 }, (_, i) => (i * i) % 97);
    const frame = makeFrame({
      blocks: [{ bytes, stored: false }],
      contentSize: false,
      blockChecksum: false,
      contentChecksum: true,
    });
    for (let at = 0; at < frame.length; at++) {
      const bad = Buffer.from(frame);
      bad[at] = (bad[at] ?? 0) ^ 0x21;
      const outcome = decodePageFrame(bad, 512);
      if (typeof outcome !== 'number') assert.deepEqual(outcome, bytes, `byte ${at}`);
    }
  });

  test('memory that was given back is used again', () => {
    const first = kernel().allocate(100_000);
    const { pointer } = first;
    first[Symbol.dispose]();
    using second = kernel().allocate(100_000);
    assert.equal(second.pointer, pointer);
    assert.throws(() => first[Symbol.dispose](), /released once/);
  });
});
