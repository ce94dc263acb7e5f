// Commits one transaction of many MiB: node huge-writer.ts DATABASE MIB. Speaks as WriterProcess expects.
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

const [, , path = '', mib = ''] = process.argv;
const db = new DatabaseSync(path, { timeout: 60_000 });
db.exec('PRAGMA synchronous = NORMAL; CREATE TABLE huge (bytes BLOB)');
const insert = db.prepare('INSERT INTO huge VALUES (randomblob(1048576))');

process.stdin.on('end', () => process.exit());
writeSync(1, 'open\n');
process.stdin.once('data', () => {
  const sinceMs = performance.now();
  db.exec('BEGIN');
  for (let left = Number(mib); left > 0; left--) insert.run();
  db.exec('COMMIT');
  writeSync(1, `${JSON.stringify({ tookMs: performance.now() - sinceMs })}\n`);
});
