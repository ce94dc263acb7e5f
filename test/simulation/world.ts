import { join } from 'node:path';
import { messageOf } from '../../src/base/errors.ts';
import type { Logger } from '../../src/base/log.ts';
import type { CaptureThread } from '../../src/capture/capture-thread.ts';
import { DatabaseCapture } from '../../src/capture/database-capture.ts';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import type { SpooledFile } from '../../src/capture/l0-writer.ts';
import type { DatabaseConfig } from '../../src/config/config.ts';
import { DatabaseReplication } from '../../src/daemon/database-replication.ts';
import { FILE_LAYOUT, SNAPSHOT_LEVEL } from '../../src/replica/layout.ts';
import { metaPathFor } from '../../src/replica/local-state.ts';
import { Replica } from '../../src/replica/replica.ts';
import { readOnly } from '../../src/store/read-only-store.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { between, type Random, randomOf } from '../support/writers.ts';
import { Application } from './application.ts';
import { FaultyStore, type Weather } from './faulty-store.ts';
import { Crash, type Machine } from './machine.ts';
import { afterFile, canBeMerged, type RestoredState } from './replica-state.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What a seed was found to break. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

const ACTIONS = 120;
const PAGE_SIZES = [512, 1024, 4096];
const WEATHERS: readonly Weather[] = ['fine', 'fine', 'fine', 'slow', 'flaky', 'away', 'stale'];
/** More than the longest pause between two tries. */
const LONG_MS = 90_000;

/** One machine with an application and a replicator, and a store elsewhere: what happens is decided by the seed. */
export class World {
  readonly #random: Random;
  readonly #time: VirtualTime;
  readonly #machine: Machine;
  readonly #application: Application;
  readonly #store: FaultyStore;
  readonly #config: DatabaseConfig;
  #replication: DatabaseReplication | undefined;
  #captures: DatabaseCapture[] = [];
  #failure: unknown;
  /** Found in the middle of something. */
  #broken: Broken | undefined;
  /** What happened, newest last. */
  readonly log: string[] = [];
  readonly counts: Record<string, number> = {};

  constructor(seed: number, folder: string, time: VirtualTime, machine: Machine) {
    this.#random = randomOf(seed);
    this.#time = time;
    this.#machine = machine;
    Math.random = this.#random;
    time.restart();
    const path = join(folder, 'app.db');
    const pageSize = this.#anyPageSize();
    this.#application = machine.asApplication(() => new Application(path, this.#random, pageSize));
    this.#store = new FaultyStore(this.#random);
    this.#config = this.#settings(path);
    machine.renew(metaPathFor(path));
    machine.between = () => this.#between();
    machine.onCheckpoint = () => machine.asApplication(() => this.#application.noteSync());
  }

  /** Leaves nothing open. */
  abandon(): void {
    this.#machine.kill();
    this.#forget();
    this.#machine.asApplication(() => this.#application.close());
  }

  #settings(path: string): DatabaseConfig {
    const random = this.#random;
    const pick = (...values: number[]): number => values[between(random, 0, values.length - 1)] ?? 0;
    return {
      path,
      metaPath: metaPathFor(path),
      monitorIntervalMs: pick(50, 1000),
      busyTimeoutMs: 1000,
      minCheckpointPageCount: pick(3, 20, 1000),
      checkpointIntervalMs: pick(0, 200, 60_000),
      truncatePageCount: pick(0, 5, 1000),
      maxSyncWalBytes: pick(0, 5000, 1_000_000),
      maxSpoolBytes: pick(20_000, 1_000_000_000),
      setWal: true,
      restoreIfMissing: false,
      replica: { syncIntervalMs: pick(0, 100, 1000) },
    } as unknown as DatabaseConfig; // a replication reads no more of it
  }

  /** Lives through everything; throws {@link Broken}. */
  async run(): Promise<void> {
    await this.#start();
    for (let i = 0; i < ACTIONS; i++) {
      await this.#happen();
      await this.#afterwards();
      if (this.#random() < 0.1) this.#checkStore();
    }
    await this.#comeToRest();
  }

  async #happen(): Promise<void> {
    const dice = this.#random();
    if (dice < 0.5) this.#applicationActs();
    else if (dice < 0.78) await this.#timePasses();
    else if (dice < 0.82) this.#weatherChanges();
    else if (dice < 0.875) await (this.#replication ? this.#stop() : this.#start());
    else if (dice < 0.88) await this.#everybodyGoes();
    else if (dice < 0.91) this.#killReplicator();
    else if (dice < 0.93) await this.#losePower();
    else if (dice < 0.945) this.#applicationDies();
    else if (dice < 0.95) this.#replaceDatabase();
    else if (dice < 0.965) this.#applicationActsWhileNobodyLooks();
    else if (dice < 0.97) await this.#pageSizeChanges();
    else await this.#syncNow();
  }

  /** The replicator may have died meanwhile, or given up. */
  async #afterwards(): Promise<void> {
    await this.#time.settle();
    if (this.#broken) throw this.#broken;
    if (this.#replication && this.#machine.isDead) await this.#bury('died');
    if (this.#failure !== undefined) {
      this.#say(`gave up: ${messageOf(this.#failure)}`);
      this.#machine.kill();
      await this.#bury('gave up');
    }
  }

  #say(what: string): void {
    const kind = what.split(':', 1)[0] ?? what;
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    this.log.push(`${Math.round(this.#time.nowMs)} ms: ${what}`);
  }

  // ---- The application ----

  #applicationActs(): void {
    for (let i = between(this.#random, 1, 4); i > 0; i--) this.#act();
    this.#tellWatchers();
  }

  #act(): void {
    const done = this.#machine.asApplication(() => this.#application.act());
    this.#say(done ? 'application acts' : 'application is refused');
  }

  /** Events get lost. */
  #tellWatchers(): void {
    if (this.#random() < 0.3) return;
    for (const tell of [...this.#machine.watchers]) tell();
  }

  /** Between two steps of the replicator: the application is another process, and waits for nobody. */
  #between(): void {
    if (this.#random() < 0.97) return;
    this.#machine.asApplication(() => {
      const app = this.#application;
      if (this.#random() < 0.03) app.replace(this.#anyPageSize());
      else if (this.#random() < 0.5) app.act();
      else if (app.tinyCommit() && app.checkpoint('RESTART')) app.tinyCommit();
    });
    this.#say('application acts between two steps');
  }

  /** The case that an intact last frame proves nothing: updates, RESTART, and one small commit. */
  #applicationActsWhileNobodyLooks(): void {
    if (this.#replication) this.#killReplicator();
    this.#machine.asApplication(() => {
      for (let i = 0; i < 5; i++) this.#application.tinyCommit();
      this.#application.checkpoint('RESTART');
      this.#application.tinyCommit();
    });
    this.#say('application restarts the WAL while nobody looks');
  }

  #applicationDies(): void {
    this.#machine.asApplication(() => this.#application.die());
    this.#say('application dies');
  }

  #anyPageSize(): number {
    return PAGE_SIZES[between(this.#random, 0, PAGE_SIZES.length - 1)] ?? 512;
  }

  #replaceDatabase(): void {
    const pageSize = this.#anyPageSize();
    this.#machine.asApplication(() => this.#application.replace(pageSize));
    this.#say('database is replaced');
  }

  /** Nobody else has the database open: it can leave WAL mode. */
  async #pageSizeChanges(): Promise<void> {
    this.#killReplicator();
    await this.#bury('is gone');
    const pageSize = this.#anyPageSize();
    this.#machine.asApplication(() => this.#application.changePageSize(pageSize));
    this.#say('application changes the page size');
  }

  // ---- The machine ----

  async #timePasses(): Promise<void> {
    await this.#time.advance(between(this.#random, 1, [40, 500, 5000][between(this.#random, 0, 2)] ?? 40));
  }

  #weatherChanges(): void {
    this.#store.weather = WEATHERS[between(this.#random, 0, WEATHERS.length - 1)] ?? 'fine';
    this.#say(`store is ${this.#store.weather}`);
  }

  #killReplicator(): void {
    if (!this.#replication) return;
    this.#machine.kill();
    this.#say('replicator is killed');
  }

  async #losePower(): Promise<void> {
    this.#machine.kill();
    await this.#bury('loses its power');
    this.#machine.asApplication(() => {
      this.#application.die();
      this.#machine.losePower();
      this.#application.losePower();
    });
    this.#say('power is lost');
  }

  // ---- The replicator ----

  async #start(mayDie = true): Promise<void> {
    const random = this.#random;
    // Half of all processes die before a step that is chosen beforehand.
    const dies = mayDie && random() < 0.5;
    this.#machine.boot(dies ? between(random, 1, [30, 300, 3000][between(random, 0, 2)] ?? 30) : undefined);
    this.#failure = undefined;
    const store = new RetryingStore(this.#store);
    const opened = {
      store,
      unretried: this.#store,
      replica: new Replica(readOnly(store), FILE_LAYOUT),
      usage: () => {
        throw new Error('nobody asks');
      },
    };
    const replication = new DatabaseReplication(this.#config, opened, this.#logger());
    this.#replication = replication;
    this.#say('replicator starts');
    const thread: Pick<CaptureThread, 'open'> = {
      open: (settings, start, listener, logger) => {
        const spooled = (file: SpooledFile): void => {
          if (!this.#machine.isDurable(file.path))
            this.#broken ??= new Broken('a file was told of that a power loss would take');
          listener.spooled(file);
        };
        const capture = new DatabaseCapture(settings, start, { ...listener, spooled }, logger);
        this.#captures.push(capture);
        const ended = Promise.withResolvers<void>();
        ended.promise.catch(() => undefined);
        capture.run().then(ended.resolve, ended.reject);
        return {
          gauges: new CaptureGauges(),
          sync: () => capture.sync(),
          stored: (file) => capture.stored(file),
          ended: ended.promise,
          stop: (hasRoom) => {
            capture.stop(hasRoom);
            return ended.promise;
          },
        };
      },
    };
    const fail = (error: unknown): void => {
      if (this.#replication === replication && !isCrash(error)) this.#failure = error;
    };
    replication.ended.catch(fail);
    replication.start(thread, new AbortController().signal, true).catch(fail);
    await this.#time.settle();
  }

  #logger(): Logger {
    const logger: Logger = {
      log: (level, message, fields) => {
        // One that goes on after a start has not yet caught up with what its read does not protect.
        const hasJustBegun = this.log.findLast((line) => line.startsWith('   '))?.includes('continuing where') === true;
        if (message === 'comparing the database with the replica' && !hasJustBegun) {
          this.#broken ??= new Broken(`a capture that runs has to compare: ${fields?.reason}`);
        }
        if (level !== 'debug') this.log.push(`   ${level}: ${message} ${JSON.stringify(fields ?? {})}`);
      },
      with: () => logger,
    };
    return logger;
  }

  async #stop(): Promise<void> {
    const replication = this.#replication;
    if (!replication) return;
    this.#say('replicator is stopped');
    const signal = new AbortController().signal;
    const { closings, hasWal } = this.#machine.asApplication(() => ({
      closings: this.#application.closings,
      hasWal: this.#application.hasWal,
    }));
    let ended = false;
    const stopping = replication.stop({ timeoutMs: 3000, everyMs: 500, signal }).then(
      () => {
        ended = true;
      },
      () => {
        ended = true;
      },
    );
    for (let i = 0; i < 100 && !ended && !this.#machine.isDead; i++) await this.#time.advance(100);
    if (this.#machine.isDead) return; // it died on its way out
    if (!ended) throw new Broken('a stop does not end');
    await stopping;
    if (
      hasWal &&
      closings === this.#application.closings &&
      !this.#machine.asApplication(() => this.#application.hasWal)
    ) {
      throw new Broken('a stop removed the WAL, by which the next start could go on');
    }
    this.#machine.kill();
    await this.#bury('ended');
  }

  /** The application ends, then the replicator, which is the last to have the database open. */
  async #everybodyGoes(): Promise<void> {
    this.#machine.asApplication(() => this.#application.close());
    this.#say('application lets go');
    await this.#stop();
  }

  async #bury(how: string): Promise<void> {
    this.#say(`replicator ${how}`);
    // What is left of it comes to an end: none of its steps does anything any more.
    for (const capture of this.#captures) capture.stop();
    await this.#time.settle();
    this.#forget();
  }

  #forget(): void {
    this.#replication = undefined;
    this.#failure = undefined;
    this.#captures = [];
    this.#time.dropTimers();
    this.#store.clientDied();
    this.#machine.asApplication(() => this.#machine.bury(this.#config.path));
  }

  async #syncNow(): Promise<void> {
    const replication = this.#replication;
    if (!replication) return;
    const signal = new AbortController().signal;
    let outcome: 'waiting' | 'stored' | 'failed' = 'waiting';
    const before = this.#machine.asApplication(() => this.#application.image());
    replication.syncNow({ timeoutMs: 5000, everyMs: 100, signal }).then(
      (txid) => {
        outcome = txid === undefined ? 'failed' : 'stored';
      },
      () => {
        outcome = 'failed';
      },
    );
    for (let i = 0; i < 100 && outcome === 'waiting' && !this.#machine.isDead; i++) await this.#time.advance(100);
    this.#say(`sync: ${outcome}`);
    const now = this.#machine.asApplication(() => this.#application.image());
    const isQuiet = before !== undefined && now !== undefined && Buffer.compare(before, now) === 0;
    if ((outcome as string) === 'stored' && isQuiet) this.#expectNewest('what a sync said was stored');
  }

  // ---- What must hold ----

  /** What a restore would give now: every file of level 0 in its order. A snapshot must be of the state of its TXID. */
  #restored(): Buffer | undefined {
    let state: RestoredState | undefined;
    const prefix = FILE_LAYOUT.levelPrefix(0);
    const keys = [...this.#store.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    for (const [i, key] of keys.entries()) {
      if (key !== FILE_LAYOUT.key(0, BigInt(i + 1), BigInt(i + 1)))
        throw new Broken(`${key} does not follow TXID ${i}`);
      state = afterFile(state, this.#bytesOf(key));
      if (!state) throw new Broken(`${key} mixes two page sizes`);
      this.#checkSnapshot(state);
    }
    const snapshots = [...this.#store.objects.keys()].filter((key) =>
      key.startsWith(FILE_LAYOUT.levelPrefix(SNAPSHOT_LEVEL)),
    );
    const newest = snapshots.sort().at(-1);
    if (newest && newest > FILE_LAYOUT.key(SNAPSHOT_LEVEL, 1n, state?.txid ?? 0n)) {
      throw new Broken(`${newest} is of a TXID that is not taken`);
    }
    return state?.image;
  }

  #checkSnapshot(state: RestoredState): void {
    const key = FILE_LAYOUT.key(SNAPSHOT_LEVEL, 1n, state.txid);
    if (!this.#store.objects.has(key)) return;
    const image = afterFile(undefined, this.#bytesOf(key))?.image;
    if (!image?.equals(state.image)) throw new Broken(`${key} is not the state of its TXID`);
  }

  #bytesOf(key: string): Buffer {
    return this.#store.objects.get(key)?.bytes ?? Buffer.alloc(0);
  }

  #checkStore(): void {
    const image = this.#machine.asApplication(() => this.#restored());
    if (!image) return;
    const was = this.#machine.asApplication(() => this.#application.wasEver(image));
    if (!was) throw new Broken('the replica holds a state that the database was never in');
  }

  #expectNewest(what: string): void {
    this.#machine.asApplication(() => {
      const image = this.#restored();
      if (!image || !this.#application.isNow(image)) throw new Broken(`${what} is not the newest state`);
      if (!canBeMerged(this.#store.objects)) throw new Broken(`${what} has two page sizes and no snapshot`);
    });
  }

  /** Everything works again, and the application is quiet: then the replica must hold its newest state. */
  async #comeToRest(): Promise<void> {
    this.#store.weather = 'fine';
    this.#machine.between = () => undefined;
    for (let tries = 0; ; tries++) {
      if (this.#replication) {
        this.#machine.kill();
        await this.#bury('is killed for the last time');
      }
      if (tries > 5)
        throw new Broken(
          `the replicator does not come to rest: ${this.log.findLast((line) => line.includes('gave up:'))}`,
        );
      await this.#start(false);
      await this.#time.advance(LONG_MS);
      await this.#afterwards();
      if (this.#replication) break;
    }
    await this.#stop();
    this.#checkStore();
    this.#expectNewest('what is stored when the application is quiet');
    this.#machine.asApplication(() => this.#application.close());
  }
}

function isCrash(error: unknown): boolean {
  return error instanceof Crash || (error instanceof Error && isCrash(error.cause));
}
