import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Application } from './application.ts';
import { LineProcess } from './child-process.ts';
import { type Comparison, compareShops } from './compare.ts';
import { LiveView, type ViewTarget } from './live-view.ts';
import { commitsInDatabase } from './progress-row.ts';
import { StoredCommits } from './stored-commits.ts';
import { Stream } from './stream.ts';

const COMMITS_PER_SECOND = 250;
/** Far beyond the second that it takes. */
const CATCH_UP_LIMIT_MS = 20_000;

/** The executable, as a user calls it. */
export const RIVULET = fileURLToPath(new URL('../../bin/rivulet', import.meta.url));

const SHOP = fileURLToPath(new URL('shop-process.ts', import.meta.url));

/** Something that the story relies on did not happen. */
export class StoryError extends Error {}

/** What was on its way when the application died. */
export interface Crash {
  /** Commits that the application was told of. */
  readonly commits: number;
  /** Commits that the replica held at that moment. */
  readonly stored: number;
  /** The age of the oldest commit that it did not hold, ms. */
  readonly lagMs: number;
  /** How long it took until the replica held every commit, ms. */
  readonly caughtUpMs: number;
}

export interface Restored {
  readonly command: readonly string[];
  readonly output: string;
  readonly comparison: Comparison;
}

/** A live database that is streamed, lost and restored, step by step. Everything happens in one folder. */
export class Story {
  readonly databasePath: string;
  readonly replicaPath: string;
  readonly #shopFolder: string;
  readonly #originalPath: string;
  readonly #signal: AbortSignal;
  #application: Application | undefined;
  #replicator: LineProcess | undefined;
  #watch: StoredCommits | undefined;
  #stream: Stream | undefined;

  constructor(folder: string, signal: AbortSignal) {
    this.#shopFolder = join(folder, 'shop');
    this.databasePath = join(this.#shopFolder, 'shop.db');
    this.replicaPath = join(folder, 'replica');
    this.#originalPath = join(folder, 'original', 'shop.db');
    this.#signal = signal;
  }

  /** Opens the shop, and streams its database while it sells. */
  async begin(): Promise<void> {
    mkdirSync(this.#shopFolder, { recursive: true });
    this.#application = new Application(SHOP, this.databasePath, String(COMMITS_PER_SECOND));
    const page = await this.#application.opened;
    this.#signal.throwIfAborted();
    this.#replicator = new LineProcess([RIVULET, 'replicate', this.databasePath, this.replicaPath]);
    const stream = new Stream(this.#application);
    this.#stream = stream;
    this.#watch = new StoredCommits(this.replicaPath, page, (file) => stream.add(file));
  }

  /** Shows the stream for a while. */
  async watch(seconds: number, target: ViewTarget): Promise<void> {
    const { stream, application, replicator } = this.#running();
    using _view = new LiveView(stream, target);
    const ended = new AbortController();
    try {
      const tooSoon = Promise.race([
        application.process.ended.then(() => `the shop ended by itself:\n${application.process.log}`),
        replicator.ended.then(() => `rivulet replicate ended by itself:\n${replicator.log}`),
      ]);
      const signal = AbortSignal.any([this.#signal, ended.signal]);
      const problem = await Promise.race([tooSoon, sleep(seconds * 1000, undefined, { signal })]);
      if (problem !== undefined) throw new StoryError(problem);
    } finally {
      ended.abort();
    }
  }

  /** Kills the application in the middle of its work, and waits until the replica holds every commit. */
  async crash(): Promise<Crash> {
    const { stream, application, watch } = this.#running();
    await application.process.kill();
    const killedMs = Date.now();
    watch.look();
    const { commits, stored } = stream;
    const lagMs = stream.lagMs(killedMs);
    await this.#catchUp();
    return { commits, stored, lagMs, caughtUpMs: Date.now() - killedMs };
  }

  /** Keeps a copy to compare with, kills the replicator as well, and deletes the database with everything beside it. */
  async lose(): Promise<void> {
    const { replicator, watch } = this.#running();
    await this.#checkpoint();
    mkdirSync(dirname(this.#originalPath));
    copyFileSync(this.databasePath, this.#originalPath);
    await replicator.kill();
    watch[Symbol.dispose]();
    rmSync(this.#shopFolder, { recursive: true });
  }

  /** Restores the database as a user would, and compares it with the copy that was kept aside. */
  async restore(commits: number): Promise<Restored> {
    const command = ['restore', '-o', this.databasePath, pathToFileURL(this.replicaPath).href];
    const { status, output } = await run(RIVULET, command);
    this.#signal.throwIfAborted();
    if (status !== 0) throw new StoryError(`rivulet restore failed (${status}):\n${output}`);
    return { command, output, comparison: compareShops(this.#originalPath, this.databasePath, commits) };
  }

  /** Leaves no process behind. */
  async end(): Promise<void> {
    this.#watch?.[Symbol.dispose]();
    await Promise.all([this.#application?.process.kill(), this.#replicator?.kill()]);
  }

  async #catchUp(): Promise<void> {
    const { stream, replicator } = this.#running();
    const db = new DatabaseSync(this.databasePath, { readOnly: true });
    const wanted = commitsInDatabase(db);
    db.close();
    for (const until = Date.now() + CATCH_UP_LIMIT_MS; stream.stored < wanted; ) {
      if (!replicator.running) throw new StoryError(`rivulet replicate ended by itself:\n${replicator.log}`);
      if (Date.now() > until) {
        const missing = `commits ${stream.stored + 1} to ${wanted} are still not in ${this.replicaPath}`;
        throw new StoryError(`after ${CATCH_UP_LIMIT_MS / 1000} s ${missing}\n${replicator.log}`);
      }
      await sleep(10, undefined, { signal: this.#signal });
    }
  }

  /**
   * Brings the database file up to what its readers see. Opening a copy of file and WAL instead would show one commit more
   * when the shop died between writing it and publishing it: nobody was told of that one, and nobody ever saw it.
   */
  async #checkpoint(): Promise<void> {
    const db = new DatabaseSync(this.databasePath);
    try {
      for (const until = Date.now() + CATCH_UP_LIMIT_MS; ; await sleep(20, undefined, { signal: this.#signal })) {
        const result = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get();
        if (result?.busy === 0 && result.log === result.checkpointed) return;
        if (Date.now() > until) throw new StoryError(`${this.databasePath} cannot be checkpointed`);
      }
    } finally {
      db.close();
    }
  }

  #running() {
    if (!this.#stream || !this.#application || !this.#replicator || !this.#watch) throw new Error('not begun');
    return {
      stream: this.#stream,
      application: this.#application,
      replicator: this.#replicator,
      watch: this.#watch,
    };
  }
}

interface Result {
  readonly status: number | string;
  readonly output: string;
}

function run(program: string, args: readonly string[]): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LOG_LEVEL: 'warn' },
    });
    const parts: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => parts.push(bytes));
    child.once('error', (error) => resolve({ status: error.message, output: '' }));
    child.once('close', (code, signal) =>
      resolve({ status: code ?? signal ?? 'no status', output: Buffer.concat(parts).toString().trimEnd() }),
    );
  });
}
