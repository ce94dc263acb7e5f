// The per-byte work of Rivulet in AssemblyScript (WebAssembly SIMD): CRC-64, LZ4 blocks and frames, WAL checksums, all on
// batches of pages. No static data, no runtime, no allocation: every pointer is an argument, so one compiled module serves
// any memory. Slack required around buffers: 16 readable bytes after each source, 32 writable bytes after each
// destination, 8 readable bytes before a compression source. Pointers are trusted; what they point at is not.

// ---------- CRC-64/GO-ISO: P = x^64+x^4+x^3+x+1, reflected, init ~0, xorout ~0 ----------
// Table free: P is sparse and squaring keeps it sparse, so x^512 = x^32+x^24+x^8+1 and x^1024 = x^64+x^48+x^16+1 (mod P):
// folding a whole 128-byte block forward is two byte shifts and some XORs.
// @ts-ignore
@inline function step64(s: u64): u64 {            // s * x^64 mod P
  const h = (s << 63) ^ (s << 61) ^ (s << 60);
  const q = s ^ h;
  return q ^ (s >> 1) ^ (s >> 3) ^ (s >> 4) ^ (h >> 1) ^ (h >> 3) ^ (h >> 4);
}
// @ts-ignore
@inline function step32(s: u64): u64 {            // s * x^32 mod P
  const u = s << 32;
  return (s >> 32) ^ u ^ (u >> 1) ^ (u >> 3) ^ (u >> 4);
}
// @ts-ignore
@inline function step8(s: u64): u64 {             // s * x^8 mod P
  const u = s << 56;
  return (s >> 8) ^ u ^ (u >> 1) ^ (u >> 3) ^ (u >> 4);
}
// @ts-ignore
@inline function A(k: i32, a: v128, b: v128): v128 {
  return k == 1 ? i8x16.shuffle(a, b, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16)
    : k == 2 ? i8x16.shuffle(a, b, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)
    : k == 3 ? i8x16.shuffle(a, b, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18)
    : i8x16.shuffle(a, b, 6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21);
}
// raw state in, raw state out (state = ~crc)
// @ts-ignore
@inline function state(c: u64, p: usize, n: usize): u64 {
  if (n >= 256) {
    const zero = i64x2.splat(0);
    let a0 = v128.xor(v128.load(p), i64x2.replace_lane(zero, 0, c));
    let a1 = v128.load(p, 16), a2 = v128.load(p, 32), a3 = v128.load(p, 48);
    let a4 = v128.load(p, 64), a5 = v128.load(p, 80), a6 = v128.load(p, 96), a7 = v128.load(p, 112);
    p += 128; n -= 128;
    const e = p + (n & ~127);
    n &= 127;
    while (p < e) {                               // acc = acc*(1+x^16)(1+x^48) + next 128 bytes
      const o = i8x16.shuffle(zero, a0, 0,0,0,0,0,0,0,0,16,17,18,19,20,21,22,23);
      a7 = v128.xor(a7, v128.xor(o, v128.xor(i64x2.shl(o, 16), i64x2.shl(o, 48))));
      a0 = v128.xor(a0, A(2, a0, a1)); a1 = v128.xor(a1, A(2, a1, a2)); a2 = v128.xor(a2, A(2, a2, a3)); a3 = v128.xor(a3, A(2, a3, a4));
      a4 = v128.xor(a4, A(2, a4, a5)); a5 = v128.xor(a5, A(2, a5, a6)); a6 = v128.xor(a6, A(2, a6, a7)); a7 = v128.xor(a7, A(2, a7, zero));
      a0 = v128.xor(v128.xor(a0, v128.load(p)), A(6, a0, a1));
      a1 = v128.xor(v128.xor(a1, v128.load(p, 16)), A(6, a1, a2));
      a2 = v128.xor(v128.xor(a2, v128.load(p, 32)), A(6, a2, a3));
      a3 = v128.xor(v128.xor(a3, v128.load(p, 48)), A(6, a3, a4));
      a4 = v128.xor(v128.xor(a4, v128.load(p, 64)), A(6, a4, a5));
      a5 = v128.xor(v128.xor(a5, v128.load(p, 80)), A(6, a5, a6));
      a6 = v128.xor(v128.xor(a6, v128.load(p, 96)), A(6, a6, a7));
      a7 = v128.xor(v128.xor(a7, v128.load(p, 112)), A(6, a7, zero));
      p += 128;
    }
    // 128 -> 64 bytes: first half * (1+x^8)(1+x^24)
    const o = i8x16.shuffle(zero, a0, 0,0,0,0,0,0,0,0,0,0,0,0,16,17,18,19);
    a3 = v128.xor(a3, v128.xor(o, v128.xor(i32x4.shl(o, 8), i32x4.shl(o, 24))));
    a0 = v128.xor(a0, A(1, a0, a1)); a1 = v128.xor(a1, A(1, a1, a2)); a2 = v128.xor(a2, A(1, a2, a3)); a3 = v128.xor(a3, A(1, a3, zero));
    a4 = v128.xor(v128.xor(a4, a0), A(3, a0, a1));
    a5 = v128.xor(v128.xor(a5, a1), A(3, a1, a2));
    a6 = v128.xor(v128.xor(a6, a2), A(3, a2, a3));
    a7 = v128.xor(v128.xor(a7, a3), A(3, a3, zero));
    c = step64(i64x2.extract_lane(a4, 0));
    c = step64(c ^ i64x2.extract_lane(a4, 1));
    c = step64(c ^ i64x2.extract_lane(a5, 0));
    c = step64(c ^ i64x2.extract_lane(a5, 1));
    c = step64(c ^ i64x2.extract_lane(a6, 0));
    c = step64(c ^ i64x2.extract_lane(a6, 1));
    c = step64(c ^ i64x2.extract_lane(a7, 0));
    c = step64(c ^ i64x2.extract_lane(a7, 1));
  }
  let e = p + (n & ~7);
  while (p < e) { c = step64(c ^ load<u64>(p)); p += 8; }
  e += n & 7;
  while (p < e) { c = step8(c ^ <u64>load<u8>(p)); p++; }
  return c;
}
export function copy(dst: usize, src: usize, n: usize): void { memory.copy(dst, src, n); }

export function crc(crc: u64, p: usize, n: usize): u64 { return ~state(~crc, p, n); }

// crc64(bigEndian32(pgno) || page), without the LTX flag bit
export function crc_page(pgno: u32, p: usize, n: usize): u64 {
  return ~state(step32(~<u64>0 ^ <u64>bswap<u32>(pgno)), p, n);
}

// product in GF(2)[x]/P, reflected
export function mulmod(a: u64, b: u64): u64 {
  let r: u64 = 0;
  for (let i = 0; i < 64; i++) {
    r ^= a & (0 - (b >> 63));
    b <<= 1;
    a = (a >> 1) ^ (0xD800000000000000 & (0 - (a & 1)));
  }
  return r;
}
export function xpow8n(n: u64): u64 {             // x^(8n) mod P
  let r: u64 = (<u64>1) << 63, b: u64 = (<u64>1) << 55;
  while (n) { if (n & 1) r = mulmod(r, b); b = mulmod(b, b); n >>= 1; }
  return r;
}
export function crc_combine(a: u64, b: u64, lenB: u64): u64 { return mulmod(a, xpow8n(lenB)) ^ b; }

// ---------- LZ4 block ----------
// @ts-ignore
@inline const HLOG: i32 = 12;
// @ts-ignore
@inline function hash(v: u64): usize { return <usize>(((v << 16) * 227718039650203) >> (64 - HLOG)) << 1; } // of 6 bytes

// Steps in 64ths of a byte: one byte for the first 8 tries, two for the next 16, and so on. Looking at every byte for longer,
// or hashing 5 bytes, finds more and shorter matches: less output, and slower.
// @ts-ignore
@inline const FIRST_STEP: u32 = 96;
// @ts-ignore
@inline const STEP_GROWTH: u32 = 4;
// table: u16[1<<HLOG], cleared here, so the output is a function of the page alone. n <= 65536.
export function lz4_compress(src: usize, n: usize, dst: usize, table: usize): usize {
  memory.fill(table, 0, <usize>2 << HLOG);
  return lz4_compress_at(src, n, dst, table, 0);
}
// The table may hold positions of other pages, all below `base`: they count as position 0, as those of a cleared table do.
// So a table is cleared once for 65536 bytes of pages, and the output is still a function of the page alone.
function lz4_compress_at(src: usize, n: usize, dst: usize, table: usize, base: usize): usize {
  let op = dst, anchor = src;
  const iend = src + n;
  if (n >= 13) {
    const mfl1 = iend - 12 + 1, mlimit = iend - 5;
    let fwd = src + 1;
    let cur = load<u64>(fwd);
    let fh = hash(cur);
    while (true) {
      let match: usize = 0, ip: usize = 0;
      let nb: u32 = FIRST_STEP;
      let done = false;
      while (true) {
        const h = table + fh;
        const v = <u32>cur;
        ip = fwd;
        fwd += nb >> 6;
        if (fwd > mfl1) { done = true; break; }
        nb += STEP_GROWTH;
        const at = <usize>load<u16>(h);
        match = src + (at > base ? at - base : 0);
        cur = load<u64>(fwd);
        store<u16>(h, <u16>(ip - src + base));
        fh = hash(cur);
        if (load<u32>(match) == v) break;
      }
      if (done) break;
      {                                           // extend backwards
        const d = load<u64>(ip - 8) ^ load<u64>(match - 8);
        const k = min(<usize>(clz(d) >> 3), min(ip - anchor, match - src));
        ip -= k; match -= k;
        if (k == 8) while (ip > anchor && match > src && load<u8>(ip - 1) == load<u8>(match - 1)) { ip--; match--; }
      }
      const ll = ip - anchor, token = op++;
      let tk: u32;
      if (ll < 15) {
        tk = <u32>ll << 4;
        v128.store(op, v128.load(anchor));
      } else {
        tk = 0xF0;
        let l = ll - 15;
        while (l >= 255) { store<u8>(op++, 255); l -= 255; }
        store<u8>(op++, <u8>l);
        let d = op, s = anchor; const e = op + ll;
        do { v128.store(d, v128.load(s)); d += 16; s += 16; } while (d < e);
      }
      op += ll;
      store<u16>(op, <u16>(ip - match)); op += 2;
      let a = ip + 4, b = match + 4;              // extend forwards
      let m = i8x16.bitmask(i8x16.ne(v128.load(a), v128.load(b)));
      while (m == 0) {
        a += 16; b += 16;
        if (a >= mlimit) break;
        m = i8x16.bitmask(i8x16.ne(v128.load(a), v128.load(b)));
      }
      a = min(a + (m ? <usize>ctz(m) : 0), mlimit);
      let ml = a - ip - 4;
      ip = a;
      if (ml < 15) store<u8>(token, <u8>(tk | <u32>ml));
      else {
        store<u8>(token, <u8>(tk | 15));
        ml -= 15;
        while (ml >= 255) { store<u8>(op++, 255); ml -= 255; }
        store<u8>(op++, <u8>ml);
      }
      anchor = ip;
      if (ip >= mfl1) break;
      store<u16>(table + hash(load<u64>(ip - 2)), <u16>(ip - 2 - src + base));
      cur = load<u64>(ip);
      fh = hash(cur);
      fwd = ip;
    }
  }
  const last = iend - anchor;
  if (last >= 15) {
    store<u8>(op++, 0xF0);
    let l = last - 15;
    while (l >= 255) { store<u8>(op++, 255); l -= 255; }
    store<u8>(op++, <u8>l);
  } else store<u8>(op++, <u8>(last << 4));
  memory.copy(op, anchor, last);
  return op + last - dst;
}

// Safe decoder: never reads outside src..src+n+15 nor writes outside dst..dst+cap+31. Matches may reach back to `base`
// (the blocks of one LZ4 frame may refer to each other). Returns the size or -1.
function lz4_decompress_from(src: usize, n: usize, dst: usize, cap: usize, base: usize): i32 {
  let ip = src, op = dst;
  const iend = src + n, oend = dst + cap;
  while (ip < iend) {
    const token = <u32>load<u8>(ip++);
    let ll = <usize>(token >> 4);
    if (ll < 15) {
      if (ll > iend - ip || ll > oend - op) return -1;
      v128.store(op, v128.load(ip));
    } else {
      let b: u32;
      do { if (ip >= iend) return -1; b = <u32>load<u8>(ip++); ll += b; } while (b == 255);
      if (ll > iend - ip || ll > oend - op) return -1;
      let d = op, s = ip; const e = op + ll;
      do { v128.store(d, v128.load(s)); d += 16; s += 16; } while (d < e);
    }
    op += ll; ip += ll;
    if (ip == iend) return <i32>(op - dst);
    if (ip + 2 > iend) return -1;
    const off = <usize>load<u16>(ip); ip += 2;
    if (off - 1 >= op - base) return -1;          // off == 0 wraps
    let ml = <usize>(token & 15);
    if (ml == 15) {
      let b: u32;
      do { if (ip >= iend) return -1; b = <u32>load<u8>(ip++); ml += b; } while (b == 255);
    }
    ml += 4;
    if (ml > oend - op) return -1;
    const e = op + ml;
    let m = op - off;
    if (off >= 16) {
      v128.store(op, v128.load(m));
      if (ml > 16) { let d = op + 16; m += 16; do { v128.store(d, v128.load(m)); d += 16; m += 16; } while (d < e); }
    } else if (off >= 8) {
      let d = op; do { store<u64>(d, load<u64>(m)); d += 8; m += 8; } while (d < e);
    } else if (off == 1) {
      const v = i8x16.splat(load<u8>(m));
      let d = op; do { v128.store(d, v); d += 16; } while (d < e);
    } else {
      let d = op;
      store<u8>(d, load<u8>(m)); store<u8>(d, load<u8>(m, 1), 1); store<u8>(d, load<u8>(m, 2), 2); store<u8>(d, load<u8>(m, 3), 3);
      store<u8>(d, load<u8>(m, 4), 4); store<u8>(d, load<u8>(m, 5), 5); store<u8>(d, load<u8>(m, 6), 6); store<u8>(d, load<u8>(m, 7), 7);
      if (ml > 8) {                               // continue at a distance >= 8 that is a multiple of off
        d += 8; m = d - (off == 2 || off == 4 ? 8 : off == 3 ? 9 : off == 5 ? 10 : off == 6 ? 12 : 14);
        do { store<u64>(d, load<u64>(m)); d += 8; m += 8; } while (d < e);
      }
    }
    op = e;
  }
  return -1;                                      // empty input or a block that ends in a match
}
export function lz4_decompress(src: usize, n: usize, dst: usize, cap: usize): i32 { return lz4_decompress_from(src, n, dst, cap, dst); }

// ---------- XXH32 (the content and header checksum of an LZ4 frame) ----------
// @ts-ignore
@inline const P1: u32 = 2654435761;
// @ts-ignore
@inline const P2: u32 = 2246822519;
// @ts-ignore
@inline const P3: u32 = 3266489917;
// @ts-ignore
@inline const P4: u32 = 668265263;
// @ts-ignore
@inline const P5: u32 = 374761393;
export function xxh32(p: usize, n: usize): u32 {
  const e = p + n;
  let h: u32;
  if (n >= 16) {
    let a: u32 = P1 + P2, b: u32 = P2, c: u32 = 0, d: u32 = 0 - P1;
    const l = e - 16;
    do {
      a = rotl<u32>(a + load<u32>(p) * P2, 13) * P1;
      b = rotl<u32>(b + load<u32>(p, 4) * P2, 13) * P1;
      c = rotl<u32>(c + load<u32>(p, 8) * P2, 13) * P1;
      d = rotl<u32>(d + load<u32>(p, 12) * P2, 13) * P1;
      p += 16;
    } while (p <= l);
    h = rotl<u32>(a, 1) + rotl<u32>(b, 7) + rotl<u32>(c, 12) + rotl<u32>(d, 18);
  } else h = P5;
  h += <u32>n;
  while (p + 4 <= e) { h = rotl<u32>(h + load<u32>(p) * P3, 17) * P4; p += 4; }
  while (p < e) { h = rotl<u32>(h + <u32>load<u8>(p) * P5, 11) * P1; p++; }
  h ^= h >> 15; h *= P2; h ^= h >> 13; h *= P3; h ^= h >> 16;
  return h;
}

// ---------- page hashes ----------
// out[i] = crc64(be32(pgnos[i]) || page i) with bit 63 set, or 0 for the lock page; returns the XOR of them
export function hash_pages(src: usize, pageSize: usize, count: usize, pgnos: usize, lockPgno: u32, out: usize): u64 {
  let x: u64 = 0;
  for (let i: usize = 0; i < count; i++) {
    const pgno = load<u32>(pgnos + (i << 2));
    const c = pgno == lockPgno ? 0 : crc_page(pgno, src + i * pageSize, pageSize) | 0x8000000000000000;
    store<u64>(out + (i << 3), c);
    x ^= c;
  }
  return x;
}

// ---------- LTX page frames ----------
// Frame: {pgno u32 BE, flags u16 BE}, then flag bit 0 set: {size u32 BE, LZ4 block}; flags 0: one LZ4 frame.
// Page i of src becomes one page frame at dst. lengths[i] = bytes of the frame; hashes[i] as in hash_pages.
// crcAt: u64[2] = {running file checksum (finished form, without the top-bit flag) over page header, size field and raw
// page; XOR of the hashes}. kind 1: LZ4 block; kind 0: LZ4 frame with independent 64 KiB blocks and a content checksum.
// Returns the bytes written.
export function encode_pages(kind: i32, src: usize, pageSize: usize, count: usize, pgnos: usize, dst: usize, table: usize,
  hashes: usize, lengths: usize, crcAt: usize): usize {
  let o = dst;
  let fileState = ~load<u64>(crcAt);
  let xor: u64 = 0;
  let base: usize = 65536;
  const shift = xpow8n(<u64>pageSize);
  for (let i: usize = 0; i < count; i++) {
    const p = src + i * pageSize, start = o, pgno = load<u32>(pgnos + (i << 2));
    if (base + pageSize > 65536) { memory.fill(table, 0, <usize>2 << HLOG); base = 0; }
    const seed = step32(~<u64>0 ^ <u64>bswap<u32>(pgno));
    const pageState = state(seed, p, pageSize);
    const hash = ~pageState | 0x8000000000000000;
    store<u64>(hashes + (i << 3), hash);
    xor ^= hash;
    store<u32>(o, bswap<u32>(pgno));
    if (kind) {
      store<u16>(o, 0x0100, 4);
      const n = lz4_compress_at(p, pageSize, o + 10, table, base);
      store<u32>(o, bswap<u32>(<u32>n), 6);
      fileState = state(fileState, o, 10);
      o += 10 + n;
    } else {
      store<u16>(o, 0, 4);
      fileState = state(fileState, o, 6);
      store<u32>(o, 0x184D2204, 6);
      store<u16>(o, 0x4064, 10);
      store<u8>(o, 0xA7, 12);
      let n = lz4_compress_at(p, pageSize, o + 17, table, base);
      if (n >= pageSize) { memory.copy(o + 17, p, pageSize); n = pageSize; store<u32>(o, <u32>n | 0x80000000, 13); }
      else store<u32>(o, <u32>n, 13);
      store<u32>(o + 17 + n, 0);
      store<u32>(o + 21 + n, xxh32(p, pageSize));
      o += 25 + n;
    }
    base += pageSize;
    // The checksum is linear: what the page adds is known from its hash, only the state before it has to be moved on.
    fileState = pageSize >= 2048 ? pageState ^ mulmod(fileState ^ seed, shift) : state(fileState, p, pageSize);
    store<u32>(lengths + (i << 2), <u32>(o - start));
  }
  store<u64>(crcAt, ~fileState);
  store<u64>(crcAt, xor, 8);
  return o - dst;
}

// Verdicts of the decoders: what is wrong with a page frame.
// @ts-ignore
@inline const INCOMPLETE: i32 = -1;               // the frame goes on past the end of the source
// @ts-ignore
@inline const BAD_FLAGS: i32 = -2;
// @ts-ignore
@inline const BAD_SIZE: i32 = -3;                 // compressed size is zero or above what a page can need
// @ts-ignore
@inline const BAD_DATA: i32 = -4;                 // not LZ4, or not exactly one page
// @ts-ignore
@inline const BAD_ORDER: i32 = -5;                // page numbers must ascend strictly
// @ts-ignore
@inline const BAD_PAGE: i32 = -6;                 // page number above commit, or the lock page
// @ts-ignore
@inline const BAD_CHECKSUM: i32 = -7;             // the LZ4 frame's own checksum

// Decodes one LZ4 frame of exactly pageSize bytes; returns its length or a verdict.
function lz4_frame(src: usize, n: usize, dst: usize, pageSize: usize): i32 {
  if (n < 7) return INCOMPLETE;
  if (load<u32>(src) != 0x184D2204) return BAD_DATA;
  const flg = <u32>load<u8>(src, 4), bd = <u32>load<u8>(src, 5);
  if (flg >> 6 != 1 || (flg & 2) || (flg & 1) || (bd & 0x8F) || bd < 0x40) return BAD_DATA;  // version, reserved, dictionary
  const head: usize = flg & 8 ? 15 : 7;
  if (n < head) return INCOMPLETE;
  if (<u32>load<u8>(src + head - 1) != ((xxh32(src + 4, head - 5) >> 8) & 255)) return BAD_CHECKSUM;
  if ((flg & 8) && load<u64>(src, 6) != <u64>pageSize) return BAD_DATA;
  let ip = src + head, op = dst;
  const iend = src + n;
  while (true) {
    if (iend - ip < 4) return INCOMPLETE;
    const field = load<u32>(ip); ip += 4;
    if (field == 0) break;
    const size = <usize>(field & 0x7FFFFFFF);
    if (size > pageSize + pageSize / 255 + 16) return BAD_SIZE;
    if (iend - ip < size + (flg & 16 ? 4 : 0)) return INCOMPLETE;
    const room = dst + pageSize - op;
    if (field & 0x80000000) {
      if (size > room) return BAD_DATA;
      memory.copy(op, ip, size);
      op += size;
    } else {
      const got = lz4_decompress_from(ip, size, op, room, flg & 32 ? op : dst);
      if (got < 0) return BAD_DATA;
      op += <usize>got;
    }
    if (flg & 16) { if (load<u32>(ip + size) != xxh32(ip, size)) return BAD_CHECKSUM; ip += 4; }
    ip += size;
  }
  if (op != dst + pageSize) return BAD_DATA;
  if (flg & 4) {
    if (iend - ip < 4) return INCOMPLETE;
    if (load<u32>(ip) != xxh32(dst, pageSize)) return BAD_CHECKSUM;
    ip += 4;
  }
  return <i32>(ip - src);
}

// Decodes one page frame whose page header has been read; returns the length of the whole frame or a verdict.
function decode_frame(src: usize, n: usize, flags: u32, dst: usize, pageSize: usize): i32 {
  if (flags == 1) {
    if (n < 10) return INCOMPLETE;
    const size = <usize>bswap<u32>(load<u32>(src, 6));
    if (size == 0 || size > pageSize + pageSize / 255 + 16) return BAD_SIZE;
    if (n - 10 < size) return INCOMPLETE;
    if (lz4_decompress(src + 10, size, dst, pageSize) != <i32>pageSize) return BAD_DATA;
    return <i32>size + 10;
  }
  if (flags != 0) return BAD_FLAGS;
  const got = lz4_frame(src + 6, n - 6, dst, pageSize);
  return got < 0 ? got : got + 6;
}

// Decodes page frames one after another until the source, the room (capPages), or the page block ends.
// info: i32[4] = {verdict (0 fine), bytes consumed, 1 when the closing zero header was consumed, last page number in/out}
// pgnos, lengths, hashes: per page. crcAt: running file checksum as in encode_pages. Returns the number of pages.
export function decode_stream(src: usize, n: usize, dst: usize, pageSize: usize, capPages: usize, commit: u32, lockPgno: u32,
  pgnos: usize, lengths: usize, hashes: usize, crcAt: usize, info: usize): usize {
  let ip = src, i: usize = 0, verdict: i32 = 0, ended: i32 = 0;
  const e = src + n;
  let last = load<u32>(info, 12);
  let fileState = ~load<u64>(crcAt);
  while (true) {
    if (e - ip < 6) break;
    const pgno = bswap<u32>(load<u32>(ip)), flags = <u32>bswap<u16>(load<u16>(ip, 4));
    if (pgno == 0) {
      if (flags != 0) { verdict = BAD_FLAGS; break; }
      fileState = state(fileState, ip, 6);
      ip += 6; ended = 1;
      break;
    }
    if (i == capPages) break;
    if (pgno <= last) { verdict = BAD_ORDER; break; }
    if (pgno > commit || pgno == lockPgno) { verdict = BAD_PAGE; break; }
    const d = dst + i * pageSize;
    const got = decode_frame(ip, e - ip, flags, d, pageSize);
    if (got == INCOMPLETE) break;
    if (got < 0) { verdict = got; break; }
    fileState = state(fileState, ip, flags == 1 ? 10 : 6);
    fileState = state(fileState, d, pageSize);
    store<u32>(pgnos + (i << 2), pgno);
    store<u32>(lengths + (i << 2), <u32>got);
    store<u64>(hashes + (i << 3), crc_page(pgno, d, pageSize) | 0x8000000000000000);
    last = pgno;
    ip += <usize>got; i++;
  }
  store<u64>(crcAt, ~fileState);
  store<i32>(info, verdict);
  store<i32>(info, <i32>(ip - src), 4);
  store<i32>(info, ended, 8);
  store<u32>(info, last, 12);
  return i;
}

// Decodes chosen page frames: frame i lies at src + offsets[i], is lengths[i] long and must hold page pgnos[i].
// Returns count, or -(i + 1) for the first frame that is not what it should be, with its verdict at info.
export function decode_list(src: usize, offsets: usize, lengths: usize, pgnos: usize, count: usize, dst: usize, pageSize: usize,
  hashes: usize, info: usize): i32 {
  for (let i: usize = 0; i < count; i++) {
    const p = src + <usize>load<u32>(offsets + (i << 2)), n = <usize>load<u32>(lengths + (i << 2));
    const pgno = load<u32>(pgnos + (i << 2)), d = dst + i * pageSize;
    let verdict: i32 = BAD_PAGE;
    if (n >= 6 && bswap<u32>(load<u32>(p)) == pgno) {
      const got = decode_frame(p, n, <u32>bswap<u16>(load<u16>(p, 4)), d, pageSize);
      if (got == <i32>n) {
        store<u64>(hashes + (i << 3), crc_page(pgno, d, pageSize) | 0x8000000000000000);
        continue;
      }
      verdict = got < 0 ? got : BAD_SIZE;
    }
    store<i32>(info, verdict);
    return -(<i32>i) - 1;
  }
  return <i32>count;
}

// ---------- WAL frames ----------
// @ts-ignore
// sums: u32[2] in and out, SQLite's running WAL checksum over n bytes (a multiple of 8)
export function wal_checksum(p: usize, n: usize, bigEndian: i32, sums: usize): void {
  let a = load<u32>(sums), b = load<u32>(sums, 4);
  const e = p + n;
  if (bigEndian) while (p < e) { a += bswap<u32>(load<u32>(p)) + b; b += bswap<u32>(load<u32>(p, 4)) + a; p += 8; }
  else {
    // The last sum comes last in each addition: it is the one that has to be waited for.
    const e32 = p + (n & ~31);
    while (p < e32) {
      a = a + load<u32>(p) + b; b = b + load<u32>(p, 4) + a;
      a = a + load<u32>(p, 8) + b; b = b + load<u32>(p, 12) + a;
      a = a + load<u32>(p, 16) + b; b = b + load<u32>(p, 20) + a;
      a = a + load<u32>(p, 24) + b; b = b + load<u32>(p, 28) + a;
      p += 32;
    }
    while (p < e) { a = a + load<u32>(p) + b; b = b + load<u32>(p, 4) + a; p += 8; }
  }
  store<u32>(sums, a); store<u32>(sums, b, 4);
}
// Frame: {pgno, commit, salt1, salt2, checksum1, checksum2: u32 BE each} then the page. Checks salts and the checksum chain
// of `count` frames, and writes pgno and commit of each valid one as native u32 pairs. sums: the chain, in and out, left
// after the last valid frame. salts: 8 bytes as they stand in the file. Returns the number of valid frames.
export function wal_frames(src: usize, pageSize: usize, count: usize, bigEndian: i32, salts: usize, sums: usize, out: usize): usize {
  const salt = load<u64>(salts);
  const scratch = out + (count << 3);              // 8 spare bytes after the pairs
  for (let i: usize = 0; i < count; i++) {
    const p = src + i * (pageSize + 24);
    store<u64>(scratch, load<u64>(sums));
    if (load<u64>(p, 8) != salt) return i;
    wal_checksum(p, 8, bigEndian, scratch);
    wal_checksum(p + 24, pageSize, bigEndian, scratch);
    if (load<u32>(scratch) != bswap<u32>(load<u32>(p, 16)) || load<u32>(scratch, 4) != bswap<u32>(load<u32>(p, 20))) return i;
    store<u64>(sums, load<u64>(scratch));
    store<u32>(out + (i << 3), bswap<u32>(load<u32>(p)));
    store<u32>(out + (i << 3), bswap<u32>(load<u32>(p, 4)), 4);
  }
  return count;
}
