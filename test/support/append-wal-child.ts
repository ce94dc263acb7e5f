// Appends one commit to a live WAL the hard way: arguments are the database, its new size in pages, and the pages to write
// (each filled with its number). What no SQL makes, but a WAL may hold: growth by pages that are not in it. The WAL-index is
// left torn, as by a writer that was killed; the next reader has SQLite rebuild it. In a process of its own: closing
// descriptors drops the locks of a whole process.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { frameOffset, readWalHeader, WAL_FRAME_HEADER_SIZE } from '../../src/sqlite/wal.ts';
import { readWalIndexHead } from '../../src/sqlite/wal-index.ts';

const [path = '', commit = '0', ...pages] = process.argv.slice(2);
const header = readWalHeader(readFileSync(`${path}-wal`));
const head = readWalIndexHead(readFileSync(`${path}-shm`));
if (!header || !head || head.mxFrame === 0) throw new Error('the WAL has no frames to follow');

let { first, second } = head.sums;
function sum(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += 8) {
    const read = (where: number): number =>
      header?.bigEndianChecksums ? bytes.readUInt32BE(where) : bytes.readUInt32LE(where);
    first = (first + read(at) + second) >>> 0;
    second = (second + read(at + 4) + first) >>> 0;
  }
}

const wal = openSync(`${path}-wal`, 'r+');
const { pageSize, salts } = header;
for (const [i, pgno] of pages.map(Number).entries()) {
  const frame = Buffer.alloc(WAL_FRAME_HEADER_SIZE + pageSize, pgno);
  frame.writeUInt32BE(pgno, 0);
  frame.writeUInt32BE(i === pages.length - 1 ? Number(commit) : 0, 4);
  frame.set(salts, 8);
  sum(frame.subarray(0, 8));
  sum(frame.subarray(WAL_FRAME_HEADER_SIZE));
  frame.writeUInt32BE(first, 16);
  frame.writeUInt32BE(second, 20);
  writeSync(wal, frame, 0, frame.length, frameOffset(head.mxFrame + i, pageSize));
}
closeSync(wal);
const shm = openSync(`${path}-shm`, 'r+');
writeSync(shm, Buffer.alloc(4, 0xff), 0, 4, 8); // the change counter of the first copy
closeSync(shm);
