import { HEADER_SIZE, type LtxHeader, PAGE_HEADER_SIZE } from '../../src/ltx/format.ts';
import { readVarint } from '../../src/ltx/frame-list.ts';
import { LtxError } from '../../src/ltx/ltx-error.ts';
import type { IndexLocation } from '../../src/ltx/page-index.ts';
import { lockPageNumber } from '../../src/sqlite/lock-page.ts';

/** The page frames of a file: frame i holds page `pgnos[i]`, at byte `offsets[i]`, `lengths[i]` bytes long. */
export interface PageIndex {
  readonly count: number;
  readonly pgnos: Uint32Array;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
}

/**
 * Reads a page index (its bytes as located by {@link locateIndex}) and checks it: ascending pages that can be stored,
 * frames that lie side by side from the header to the end of the page block.
 */
export function decodePageIndex(
  bytes: Uint8Array,
  location: IndexLocation,
  header: Pick<LtxHeader, 'pageSize' | 'commit'>,
): PageIndex {
  if (bytes.length !== location.size)
    throw new LtxError('truncated', `index: ${bytes.length} of ${location.size} bytes`);
  const lock = lockPageNumber(header.pageSize);
  // An entry takes at least three bytes, so this bound holds whatever the bytes say.
  const most = Math.min(header.commit, Math.floor(bytes.length / 3));
  const pgnos = new Uint32Array(most);
  const offsets = new Float64Array(most);
  const lengths = new Uint32Array(most);
  let count = 0;
  let at = 0;
  let expected = HEADER_SIZE;
  let last = 0;
  for (;;) {
    const pgno = readVarint(bytes, at);
    at = pgno.next;
    if (pgno.value === 0) break;
    const offset = readVarint(bytes, at);
    const length = readVarint(bytes, offset.next);
    at = length.next;
    if (!(pgno.value > last && pgno.value <= header.commit && pgno.value !== lock)) {
      throw new LtxError('index', `entry ${count + 1}: page ${pgno.value} cannot come after page ${last} here`);
    }
    if (offset.value !== expected || !(length.value > PAGE_HEADER_SIZE)) {
      throw new LtxError('index', `entry ${count + 1}: page ${pgno.value} is not where its frame must be`);
    }
    pgnos[count] = pgno.value;
    offsets[count] = offset.value;
    lengths[count] = length.value;
    count++;
    last = pgno.value;
    expected += length.value;
  }
  if (at !== bytes.length) throw new LtxError('index', 'bytes after its end');
  if (expected + PAGE_HEADER_SIZE !== location.offset) {
    throw new LtxError('index', 'its frames do not fill the page block of the file');
  }
  return {
    count,
    pgnos: pgnos.subarray(0, count),
    offsets: offsets.subarray(0, count),
    lengths: lengths.subarray(0, count),
  };
}
