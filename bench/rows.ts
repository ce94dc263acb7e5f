import type { DatabaseSync } from 'node:sqlite';
import { PROGRESS_SCHEMA } from '../scripts/quickstart/progress-row.ts';
import { Random } from './random.ts';

export const SCHEMA = `
  ${PROGRESS_SCHEMA}
  CREATE TABLE events (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL,
    payload TEXT NOT NULL);
  CREATE INDEX events_by_kind ON events (kind, at_ms);
  CREATE TABLE messages (id INTEGER PRIMARY KEY, thread INTEGER NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL);
  CREATE INDEX messages_by_thread ON messages (thread);
  CREATE TABLE files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, bytes BLOB NOT NULL);
`;

const KINDS = ['page_view', 'sign_in', 'cart_changed', 'order_placed', 'mail_sent', 'search'] as const;
const AGENTS = ['Mozilla/5.0 (X11; Linux x86_64)', 'Mozilla/5.0 (Macintosh)', 'okhttp/4.12', 'curl/8.7.1'] as const;
const FIRST_MS = 1_700_000_000_000;
const VOCABULARY = 4000;
const SYLLABLES = 'ba der con il mu to sa pre fin lo ra ge tion ver an quil es dro ment hu shi ka wen ol'.split(' ');

/** Makes rows like those of a web application: JSON events, prose, files that do not compress. */
export class Rows {
  readonly #random: Random;
  readonly #words: readonly string[];
  readonly #insertEvent;
  readonly #insertMessage;
  readonly #insertFile;
  readonly #editMessage;
  #events: number;
  #messages: number;

  constructor(db: DatabaseSync, seed: number) {
    this.#random = new Random(seed);
    const vocabulary = new Random(1);
    this.#words = Array.from({ length: VOCABULARY }, () => {
      const parts = Array.from(
        { length: 1 + vocabulary.below(3) },
        () => SYLLABLES[vocabulary.below(SYLLABLES.length)],
      );
      return parts.join('');
    });
    this.#insertEvent = db.prepare('INSERT INTO events (at_ms, kind, actor, payload) VALUES (?, ?, ?, ?)');
    this.#insertMessage = db.prepare('INSERT INTO messages (thread, author, body) VALUES (?, ?, ?)');
    this.#insertFile = db.prepare('INSERT INTO files (name, type, bytes) VALUES (?, ?, ?)');
    this.#editMessage = db.prepare('UPDATE messages SET body = ? WHERE id = ?');
    this.#events = countOf(db, 'events');
    this.#messages = countOf(db, 'messages');
  }

  /** Some of everything: about 32 KiB. */
  addMixed(): void {
    for (let i = 0; i < 40; i++) this.addEvent();
    for (let i = 0; i < 10; i++) this.#addMessage();
    this.#addFile();
  }

  addEvent(): void {
    const random = this.#random;
    const id = ++this.#events;
    const payload = {
      request_id: this.#hex(16),
      user: { id: random.below(50_000), name: this.#word(), plan: random.pick(['free', 'team', 'business']) },
      path: `/${this.#word()}/${random.below(10_000)}`,
      agent: random.pick(AGENTS),
      duration_ms: random.below(900),
      tags: [this.#word(), this.#word()],
      referrer: random.below(3) === 0 ? null : `https://${this.#word()}.example.com/${this.#word()}`,
    };
    this.#insertEvent.run(FIRST_MS + id * 37, random.pick(KINDS), this.#hex(8), JSON.stringify(payload));
  }

  /** Changes a message that is there already. */
  editMessage(): void {
    this.#editMessage.run(this.#prose(20 + this.#random.below(150)), 1 + this.#random.below(this.#messages));
  }

  #addMessage(): void {
    this.#messages++;
    this.#insertMessage.run(this.#random.below(20_000), this.#word(), this.#prose(20 + this.#random.below(150)));
  }

  #addFile(): void {
    const size = 500 + this.#random.below(9000);
    this.#insertFile.run(`${this.#word()}.jpg`, 'image/jpeg', this.#random.bytes(size));
  }

  #prose(count: number): string {
    return Array.from({ length: count }, () => this.#word()).join(' ');
  }

  /** Few words are frequent and many are rare, as in a language. */
  #word(): string {
    const rank = Math.floor(VOCABULARY ** (this.#random.next() / 2 ** 32)) - 1;
    return this.#words[rank] ?? '';
  }

  #hex(bytes: number): string {
    return Buffer.from(this.#random.bytes(bytes)).toString('hex');
  }
}

function countOf(db: DatabaseSync, table: string): number {
  return Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.count);
}
