import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import { cpuSecondsOf, peakMibOf } from './measure.ts';
import type { Tool } from './tools.ts';

/** For the first images, for each database, and at least. */
const LIMIT_MS = { each: 100, least: 120_000 } as const;
/** After the first images, until a tool has found out that nothing happens. */
const SETTLE_MS = 40_000;
const IDLE_MS = 20_000;

/** What databases cost to which nothing is written. */
export interface IdleFigures {
  readonly databases: number;
  /** In {@link idleSeconds}, s. */
  readonly cpuSeconds: number | undefined;
  readonly idleSeconds: number;
  readonly peakMib: number | undefined;
  readonly descriptors: number | undefined;
}

/** Lets each tool replicate each number of databases, all of them at the same time. */
export async function idle(
  tools: readonly Tool[],
  folder: string,
  counts: readonly number[],
): Promise<Readonly<Record<string, IdleFigures>>> {
  const all = tools.flatMap((tool) =>
    counts.map((count) => new Idle(tool, join(folder, `${tool.name}-${count}`), count)),
  );
  try {
    for (const one of all) await one.begin();
    await sleep(SETTLE_MS);
    const before = all.map((one) => one.cpuSeconds);
    await sleep(IDLE_MS);
    return Object.fromEntries(all.map((one, i) => [one.name, one.figures(before[i])]));
  } finally {
    await Promise.all(all.map((one) => one.end()));
  }
}

class Idle {
  readonly name: string;
  readonly #tool: Tool;
  readonly #folder: string;
  readonly #count: number;
  #process: LineProcess | undefined;

  constructor(tool: Tool, folder: string, count: number) {
    this.name = `${tool.name}, ${count === 1 ? '1 database' : `${count} databases`}`;
    this.#tool = tool;
    this.#folder = folder;
    this.#count = count;
  }

  /** Resolves when every database has its first image. */
  async begin(): Promise<void> {
    mkdirSync(join(this.#folder, 'replicas'), { recursive: true });
    const dbs = Array.from({ length: this.#count }, (_, i) => {
      const path = join(this.#folder, `app-${i}.db`);
      const db = new DatabaseSync(path);
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t (x); INSERT INTO t VALUES (1)');
      db.close();
      return { path, replica: { path: join(this.#folder, 'replicas', String(i)) } };
    });
    const config = join(this.#folder, 'config.yml');
    writeFileSync(config, JSON.stringify({ dbs })); // JSON is YAML
    const process = new LineProcess([this.#tool.program, 'replicate', '-config', config], undefined, this.#tool.env);
    this.#process = process;
    const until = Date.now() + Math.max(LIMIT_MS.least, LIMIT_MS.each * this.#count);
    for (; !this.#hasAllImages(); await sleep(50 + this.#count / 10)) {
      if (!process.running || Date.now() > until) throw new Error(`${this.name} is not replicated:\n${process.log}`);
    }
  }

  #hasAllImages(): boolean {
    const replicas = join(this.#folder, 'replicas');
    const stored = readdirSync(replicas).filter((name) => existsSync(join(replicas, name, 'ltx/0')));
    return stored.length === this.#count;
  }

  get cpuSeconds(): number | undefined {
    return cpuSecondsOf(this.#process?.pid ?? 0);
  }

  figures(before: number | undefined): IdleFigures {
    const pid = this.#process?.pid ?? 0;
    const { cpuSeconds } = this;
    return {
      databases: this.#count,
      cpuSeconds: before === undefined || cpuSeconds === undefined ? undefined : cpuSeconds - before,
      idleSeconds: IDLE_MS / 1000,
      peakMib: peakMibOf(pid),
      descriptors: existsSync(`/proc/${pid}/fd`) ? readdirSync(`/proc/${pid}/fd`).length : undefined,
    };
  }

  async end(): Promise<void> {
    await this.#process?.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
