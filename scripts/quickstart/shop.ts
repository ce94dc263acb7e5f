import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { COUNT_COMMIT, formatCommits, PROGRESS_SCHEMA } from './progress-row.ts';

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  ${PROGRESS_SCHEMA}
  CREATE TABLE shows (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seats INTEGER NOT NULL, seats_left INTEGER NOT NULL
    CHECK (seats_left >= 0), price_cents INTEGER NOT NULL);
  CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, profile TEXT NOT NULL);
  CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers, at_ms INTEGER NOT NULL,
    note TEXT NOT NULL);
  CREATE TABLE tickets (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders, show_id INTEGER NOT NULL
    REFERENCES shows, code TEXT NOT NULL UNIQUE, price_cents INTEGER NOT NULL);
  CREATE INDEX tickets_by_order ON tickets (order_id);
  CREATE INDEX tickets_by_show ON tickets (show_id);
  CREATE TABLE payments (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders, amount_cents INTEGER NOT NULL,
    reference TEXT NOT NULL);
  CREATE INDEX payments_by_order ON payments (order_id);
`;

const SHOWS = [
  'The Tempest',
  'Kind of Blue',
  'Giselle',
  'Winter Words',
  'Swan Lake',
  'The Magpie',
  'Solaris',
  'Carmen',
];
const SEATS = 20_000;
const CUSTOMERS = 15_000;
const MOST_TICKETS = 4;
/** One in so many transactions gives a former order's money back. */
const REFUND_EVERY = 12;

/** What the shop's books must say after every commit: each query finds the rows that break one rule. */
export const BOOKS: Readonly<Record<string, string>> = {
  'seats left and seats sold make up every seat': `
    SELECT id FROM shows
    WHERE seats <> seats_left + (SELECT count(*) FROM tickets WHERE show_id = shows.id)`,
  'every order is paid for, to the cent': `
    SELECT id FROM orders
    WHERE (SELECT total(amount_cents) FROM payments WHERE order_id = orders.id)
       <> (SELECT total(price_cents) FROM tickets WHERE order_id = orders.id)`,
  'orders are numbered without a gap, one for each commit': `
    SELECT 1 FROM progress
    WHERE CAST(commits AS INTEGER) <> (SELECT count(*) FROM orders)
       OR CAST(commits AS INTEGER) <> (SELECT ifnull(max(id), 0) FROM orders)`,
};

/** A small ticket shop. Every transaction touches five tables that must agree with each other. */
export class Shop {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #commits = 0;

  /** Makes the shop's tables in an empty database. */
  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec(SCHEMA);
    this.#transaction(() => this.#open());
  }

  /** Sells tickets, or takes some back: one transaction. Returns its number, counting from 1. */
  trade(): number {
    const number = this.#commits + 1;
    this.#transaction(() => {
      this.#run('INSERT INTO orders VALUES (?, ?, ?, ?)', number, pick(CUSTOMERS), Date.now(), sentence(6));
      if (number % REFUND_EVERY === 0) this.#refund(number - 1 - pick(REFUND_EVERY - 2));
      else this.#sell(number);
      this.#run(COUNT_COMMIT, formatCommits(number));
    });
    this.#commits = number;
    return number;
  }

  #open(): void {
    for (const [i, name] of SHOWS.entries()) {
      this.#run('INSERT INTO shows VALUES (?, ?, ?, ?, ?)', i + 1, name, SEATS, SEATS, 1500 + 250 * i);
    }
    for (let id = 1; id <= CUSTOMERS; id++) {
      const name = `${capital(WORDS[id % WORDS.length] ?? '')} ${capital(WORDS[pick(WORDS.length) - 1] ?? '')}`;
      const profile = JSON.stringify({ seat: id % 2 ? 'aisle' : 'middle', likes: sentence(30), visits: pick(40) });
      this.#run('INSERT INTO customers VALUES (?, ?, ?, ?)', id, name, `customer${id}@example.com`, profile);
    }
  }

  #sell(order: number): void {
    const show = this.#get('SELECT id, price_cents FROM shows WHERE seats_left >= ? ORDER BY random()', MOST_TICKETS);
    const count = show ? pick(MOST_TICKETS) : 0;
    for (let i = 0; i < count; i++) {
      const code = `${order}-${i}-${pick(1_000_000_000).toString(36)}`;
      this.#run(
        'INSERT INTO tickets (order_id, show_id, code, price_cents) VALUES (?, ?, ?, ?)',
        order,
        show?.id ?? 0,
        code,
        show?.price_cents ?? 0,
      );
    }
    this.#run('UPDATE shows SET seats_left = seats_left - ? WHERE id = ?', count, show?.id ?? 0);
    this.#pay(order, count * (show?.price_cents ?? 0));
  }

  #refund(order: number): void {
    this.#run(
      `UPDATE shows SET seats_left = seats_left + (SELECT count(*) FROM tickets WHERE order_id = ? AND show_id = shows.id)
       WHERE id IN (SELECT show_id FROM tickets WHERE order_id = ?)`,
      order,
      order,
    );
    const paid = this.#get('SELECT sum(price_cents) AS cents FROM tickets WHERE order_id = ?', order);
    this.#run('DELETE FROM tickets WHERE order_id = ?', order);
    this.#pay(order, -(paid?.cents ?? 0));
  }

  #pay(order: number, cents: number): void {
    this.#run('INSERT INTO payments (order_id, amount_cents, reference) VALUES (?, ?, ?)', order, cents, sentence(3));
  }

  #transaction(work: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE');
    work();
    this.#db.exec('COMMIT');
  }

  #run(sql: string, ...values: (string | number)[]): void {
    this.#statement(sql).run(...values);
  }

  #get(sql: string, ...values: number[]): Record<string, number> | undefined {
    // Only columns of numbers are asked for.
    return this.#statement(sql).get(...values) as Record<string, number> | undefined;
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, known);
    return known;
  }
}

const WORDS = (
  'row aisle evening matinee stage curtain balcony quiet early late front middle group birthday gift school friends ' +
  'window card cash again first second opening closing spring summer autumn winter music dance drama light north south'
).split(' ');

/** From 1 to `most`. */
function pick(most: number): number {
  return 1 + Math.floor(Math.random() * most);
}

function sentence(words: number): string {
  return Array.from({ length: words }, () => WORDS[pick(WORDS.length) - 1]).join(' ');
}

function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}
