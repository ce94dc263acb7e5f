import { DatabaseSync } from 'node:sqlite';

/* One SQLite connection, driven by messages from the test that forked this process. */

const path = process.argv[2] ?? '';
let database = new DatabaseSync(path, { timeout: 10_000 });

function statements(sql: string): string[] {
  return sql
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

process.on('message', (message: { sql?: string; reopen?: boolean; close?: boolean }) => {
  try {
    const rows = [];
    if (message.sql !== undefined) for (const sql of statements(message.sql)) rows.push(...database.prepare(sql).all());
    if (message.reopen || message.close) database.close();
    if (message.reopen) database = new DatabaseSync(path, { timeout: 10_000 });
    process.send?.({ rows });
  } catch (error) {
    process.send?.({ error: String(error) });
  }
});
process.send?.({ rows: [] });
