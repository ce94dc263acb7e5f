import * as fs from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../src/base/errors.ts';
import type { Logger } from '../../src/base/log.ts';
import type { CaptureThread } from '../../src/capture/capture-thread.ts';
import { Caretaker } from '../../src/capture/caretaker.ts';
import { DatabaseCapture } from '../../src/capture/database-capture.ts';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import type { SpooledFile } from '../../src/capture/l0-writer.ts';
import type { CaptureListener } from '../../src/capture/options.ts';
import type { DatabaseConfig } from '../../src/config/config.ts';
import { DatabaseReplication } from '../../src/daemon/database-replication.ts';
import { FILE_LAYOUT, SNAPSHOT_LEVEL } from '../../src/replica/layout.ts';
import { loadLocalPosition, metaPathFor, spoolPathFor } from '../../src/replica/local-state.ts';
import { Replica } from '../../src/replica/replica.ts';
import { saltsEqual } from '../../src/sqlite/wal.ts';
import { readOnly } from '../../src/store/read-only-store.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { between, type Random, randomOf } from '../support/writers.ts';
import { Application, type Outcome } from './application.ts';
import { FaultyStore, type Weather } from './faulty-store.ts';
import { Crash, type Machine, type Room } from './machine.ts';
import { MessageLine } from './message-line.ts';
import { afterFile, canBeMerged, type RestoredState } from './replica-state.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What a seed was found to break. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

const ACTIONS = 120;
const PAGE_SIZES = [512, 1024, 4096];
const WEATHERS: readonly Weather[] = ['fine', 'fine', 'fine', 'slow', 'flaky', 'away', 'stale'];
const ROOMS: readonly Room[] = ['nearly none', 'nearly none', 'little', 'names', 'none'];
/** Part of the replicator's steps before which the application does something, and when it is busy. */
const IN_BETWEEN = { usual: 0.03, busy: 0.4 } as const;
/** Checkpoints of the replicator, one after the other, before each of which the application commits: more than it makes before its barrier. */
const BESIDE_CHECKPOINTS = 7;
/** After this long without commits the WAL is in the database file, and whoever wants to can restart it. */
const REST_MS = 5000;
/** After this long without commits the replicator makes a checkpoint. */
const QUIET_MS = 400;
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
  #hasStarted = false;
  #captures: (DatabaseCapture | Caretaker)[] = [];
  /** Looks after the database before there is a capture. */
  #caretaker: Caretaker | undefined;
  #failure: unknown;
  /** Found in the middle of something. */
  #broken: Broken | undefined;
  /** How often the application is still going to commit between any two steps of the replicator. */
  #busyFor = 0;
  /** Before so many more checkpoints of the replicator it commits. */
  #besideFor = 0;
  /** What a restore would give: every file of level 0, up to the newest. */
  #restored: RestoredState | undefined;
  /** The same at every TXID. */
  readonly #states = new Map<string, RestoredState>();
  /** Frames that the replicator had captured and a power loss took, if there are any. */
  #lostPosition: { readonly salts: string; readonly frames: number } | undefined;
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
    machine.renew(metaPathFor(path), this.#random);
    // Where nothing tells of a boot, the WAL alone has to show what is missing; but of what is never synced nothing shows that.
    machine.tellsBoots = this.#application.synchronous === 'OFF' || this.#random() < 0.5;
    machine.between = (sql) => this.#between(sql);
    machine.onCheckpoint = () => machine.asApplication(() => this.#application.noteSync());
    machine.isWal = () => machine.asApplication(() => this.#application.hasWal);
    machine.onSwitchToWal = () => {
      machine.asApplication(() => this.#application.noteSwitch());
      this.#say('replicator switches to WAL');
    };
    time.onTurn = () => this.#checkNobodyWaits();
    this.#store.onStored = (key, bytes) => this.#checkStored(key, bytes);
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
    }
    await this.#comeToRest();
  }

  async #happen(): Promise<void> {
    const dice = this.#random();
    if (this.#machine.room === 'nearly none' && this.#random() < 0.4) {
      // What waits may be given up in the middle of it.
      this.#applicationActs();
      await this.#syncNow();
    } else if (dice < 0.47) this.#applicationActs();
    else if (dice < 0.715) await this.#timePasses();
    else if (dice < 0.74) await this.#restartSoon();
    else if (dice < 0.77) this.#weatherChanges();
    else if (dice < 0.79) this.#diskChanges();
    else if (dice < 0.81) this.#becomeBusy();
    else if (dice < 0.86) await (this.#replication ? this.#stop() : this.#start());
    else if (dice < 0.865) await this.#everybodyGoes();
    else if (dice < 0.895) this.#killReplicator();
    else if (dice < 0.92) await this.#losePower();
    else if (dice < 0.93) this.#applicationDies();
    else if (dice < 0.935) this.#replaceDatabase();
    else if (dice < 0.95) await this.#applicationActsWhileNobodyLooks();
    else if (dice < 0.96) await this.#rollbackJournalWhileNobodyLooks();
    else if (dice < 0.97) await this.#applicationRests();
    else if (dice < 0.975) await this.#diskStaysFull();
    else if (dice < 0.978) this.#lateRequests();
    else if (dice < 0.982) await this.#pageSizeChanges();
    else if (dice < 0.988) this.#somebodyCheckpoints();
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
    this.#count(kind);
    this.log.push(`${Math.round(this.#time.nowMs)} ms: ${what}`);
  }

  #count(kind: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  // ---- The application ----

  #applicationActs(): void {
    for (let i = between(this.#random, 1, 4); i > 0; i--) this.#act();
    this.#tellWatchers();
  }

  #act(): void {
    const outcome = this.#asUsual(() => this.#application.act());
    this.#say(`${outcome === 'done' ? 'application acts' : 'application is refused'}: ${this.#application.doing}`);
  }

  /** Does something as the application, which nobody else may keep from committing but with a barrier. */
  #asUsual(work: () => Outcome): Outcome {
    const app = this.#application;
    const [outcome, isOwnFault] = this.#machine.asApplication(() => {
      const before = app.standsInItsOwnWay;
      const result = work();
      return [result, before || app.standsInItsOwnWay];
    });
    if (outcome === 'refused' && !isOwnFault && !this.#machine.hasBarrier) {
      this.#broken ??= new Broken('the application is refused although no barrier is up');
    }
    for (const what of app.did) this.#count(what);
    app.did.clear();
    return outcome;
  }

  /** Events get lost. */
  #tellWatchers(): void {
    if (this.#random() < 0.3) return;
    for (const tell of [...this.#machine.watchers]) tell();
  }

  /** Between two steps of the replicator: the application is another process, and waits for nobody. */
  #between(sql?: string): void {
    const random = this.#random;
    if (sql === 'PRAGMA wal_checkpoint(PASSIVE)') this.#besideCheckpoint();
    const isBusy = this.#busyFor > 0;
    if (random() >= (isBusy ? IN_BETWEEN.busy : IN_BETWEEN.usual)) return;
    if (isBusy) this.#busyFor--;
    const app = this.#application;
    const dice = random();
    if (random() < 0.01) {
      this.#machine.asApplication(() => app.replace(this.#anyPageSize()));
      this.#say('database is replaced between two steps');
      return;
    }
    if (dice < (isBusy ? 0.1 : 0.5)) this.#asUsual(() => app.act());
    else if (this.#asUsual(() => app.tinyCommit()) === 'done' && (!isBusy || dice < 0.2)) {
      if (this.#machine.asApplication(() => app.checkpoint('RESTART'))) this.#asUsual(() => app.tinyCommit());
    }
    this.#say(`application acts between two steps: ${app.doing}`);
  }

  /** Commits before one checkpoint of the replicator after the other: it needs its barrier then. */
  #besideCheckpoint(): void {
    if (this.#besideFor === 0 && this.#random() < 0.03) this.#besideFor = BESIDE_CHECKPOINTS;
    if (this.#besideFor === 0) return;
    this.#besideFor--;
    this.#busyFor = Math.max(this.#busyFor, 2);
    if (!this.#machine.hasBarrier) this.#asUsual(() => this.#application.tinyCommit());
    else this.#count('barrier is up beside a busy application');
  }

  #becomeBusy(): void {
    this.#busyFor = between(this.#random, 10, 60);
    this.#say('application becomes busy');
  }

  /** The case that an intact last frame proves nothing: updates, RESTART, and one small commit. */
  async #applicationActsWhileNobodyLooks(): Promise<void> {
    // The replicator stands in the middle of the WAL.
    for (let i = 0; i < 6; i++) this.#asUsual(() => this.#application.tinyCommit());
    this.#tellWatchers();
    await this.#time.advance(QUIET_MS - 50);
    await this.#afterwards();
    this.#killReplicator();
    if (this.#replication) await this.#bury('died');
    this.#machine.asApplication(() => {
      for (let i = 0; i < 5; i++) this.#application.act();
      // Nothing of its own stands in the way.
      this.#application.endTransactions('COMMIT');
      this.#application.stopReading();
      this.#application.checkpoint('RESTART');
      this.#application.tinyCommit();
    });
    this.#say('application restarts the WAL while nobody looks');
    // Before much else is written over the frame at which the replicator stood.
    if (this.#random() < 0.5) await this.#start();
  }

  /** The replicator is stopped, or killed, and the application leaves the WAL, and perhaps comes back to it. */
  async #rollbackJournalWhileNobodyLooks(): Promise<void> {
    if (this.#random() < 0.5) await this.#stop();
    else this.#killReplicator();
    if (this.#replication) await this.#bury('died');
    const app = this.#application;
    const hasLeft = this.#machine.asApplication(() => app.useRollbackJournal());
    if (!hasLeft) return;
    this.#say('application works with a rollback journal while nobody looks');
    for (let i = between(this.#random, 1, 6); i > 0; i--) this.#act();
  }

  /** Nobody commits any more: everything gets into the database file, and nothing of the replicator's stands in the way. */
  async #applicationRests(): Promise<void> {
    if (!this.#replication && this.#random() < 0.7) {
      this.#store.weather = 'away';
      await this.#start(false);
      await this.#time.advance(QUIET_MS);
      for (let i = 0; i < 6; i++) this.#applicationActs();
      this.#say('replicator starts while the store is away');
    }
    if (this.#random() < 0.7) this.#machine.asApplication(() => this.#application.endTransactions('COMMIT'));
    const { between: usual } = this.#machine;
    this.#machine.between = () => undefined;
    this.#machine.othersCheckpoint = 0;
    await this.#time.advance(REST_MS);
    this.#machine.between = usual;
    this.#say('application rests');
    await this.#afterwards();
    if (this.#machine.isDead || !this.#machine.isSound) return;
    if (this.#replication?.state.kind === 'attached') this.#expectFreeWal();
    else if (this.#caretaker) this.#expectKeptWal();
  }

  /** For longer than the longest pause between two tries. */
  async #diskStaysFull(): Promise<void> {
    this.#machine.room = this.#random() < 0.3 ? 'none' : 'names';
    this.#machine.failsCheckpoints = false;
    if (this.#replication && this.#random() < 0.5) {
      this.#machine.kill();
      await this.#bury('is killed on a full disk');
    }
    if (!this.#replication) await this.#start(false);
    this.#say('disk stays full');
    for (let i = 0; i < 3; i++) {
      this.#applicationActs();
      await this.#time.advance(LONG_MS / 3);
    }
    const { between: usual } = this.#machine;
    this.#machine.between = () => undefined;
    this.#machine.othersCheckpoint = 0;
    await this.#time.advance(LONG_MS);
    this.#machine.between = usual;
    await this.#afterwards();
    if (this.#replication?.state.kind === 'suspended' && !this.#machine.isDead) this.#expectFrugal();
    this.#machine.room = 'enough';
  }

  /** A full disk is the application's: the replicator gives back what it can, and keeps the WAL from growing. */
  #expectFrugal(): void {
    this.#count('suspended for want of room');
    const { metaPath = '' } = this.#config;
    this.#machine.asApplication(() => {
      // One that waits for the store has not met the full disk: it writes nothing.
      const state = this.#replication?.state;
      const hasMetIt = state?.kind === 'suspended' && state.reason.startsWith('no room');
      const [needless] = fs.readdirSync(spoolPathFor(metaPath));
      if (hasMetIt && needless !== undefined) throw new Broken(`${needless} takes room on a full disk`);
    });
    this.#expectKeptWal();
  }

  /** Nothing is captured, and checkpoints are made all the same. */
  #expectKeptWal(): void {
    if (this.#caretaker) this.#count('WAL is kept while the store is away');
    const app = this.#application;
    const head = this.#machine.asApplication(() => (app.isIdle && app.hasWal ? app.head() : undefined));
    if (head && head.mxFrame - head.backfilled >= this.#config.minCheckpointPageCount) {
      throw new Broken('a replicator that captures nothing does not make checkpoints');
    }
  }

  #expectFreeWal(): void {
    const app = this.#application;
    const truncates = this.#machine.asApplication(() => !app.isIdle || !app.hasWal || app.truncates());
    if (!truncates) throw new Broken('the replicator keeps the application from truncating a WAL that is quiet');
    this.#count('WAL can be truncated');
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

  #lateRequests(): void {
    if (this.#store.late()) this.#say('late requests arrive');
  }

  #diskChanges(): void {
    const { room } = this.#machine;
    this.#machine.room = room === 'enough' ? (ROOMS[between(this.#random, 0, ROOMS.length - 1)] ?? 'enough') : 'enough';
    this.#machine.failsCheckpoints = this.#random() < 0.3;
    this.#say(`room on the disk is ${this.#machine.room}`);
    if (this.#machine.failsCheckpoints) this.#say('disk fails checkpoints');
  }

  /** For as long as the replicator tries so many times to make one of its own. */
  #somebodyCheckpoints(): void {
    this.#machine.othersCheckpoint = between(this.#random, 1, 40);
    this.#say('somebody checkpoints');
  }

  #killReplicator(): void {
    if (!this.#replication) return;
    this.#machine.kill();
    this.#say('replicator is killed');
  }

  async #losePower(): Promise<void> {
    if (this.#random() < 0.8) await this.#captureOneByOne();
    this.#machine.kill();
    await this.#bury('loses its power');
    this.#machine.asApplication(() => {
      this.#application.die();
      this.#machine.losePower();
      this.#application.losePower();
    });
    this.#say('power is lost');
    this.#lostPosition = this.#machine.asApplication(() => this.#positionPastTheEnd());
    if (!this.#lostPosition) return;
    this.#say('power loss takes frames that were captured');
    if (this.#random() < 0.3) return;
    const { frames } = this.#lostPosition;
    const isBefore = (): boolean =>
      (this.#machine.asApplication(() => this.#application.head())?.mxFrame ?? 0) < frames;
    for (let i = 0; i < 20 && isBefore(); i++) this.#commitOrAct();
    if (this.#random() < 0.7) await this.#start();
  }

  /** What is captured soon after it was committed is not in the database file yet, nor synced anywhere by SQLite. */
  async #captureOneByOne(): Promise<void> {
    if (!this.#replication) await this.#start(false);
    await this.#time.advance(2 * QUIET_MS);
    for (let i = between(this.#random, 2, 6); i > 0 && !this.#machine.isDead; i--) {
      this.#asUsual(() => this.#application.tinyCommit('no checkpoint'));
      this.#tellWatchers();
      await this.#time.advance(between(this.#random, 10, QUIET_MS / 3));
    }
  }

  #commitOrAct(): void {
    this.#asUsual(() => (this.#random() < 0.8 ? this.#application.tinyCommit() : this.#application.act()));
  }

  /** Where the replicator stood, if the valid end of the same WAL now lies before that. */
  #positionPastTheEnd(): { readonly salts: string; readonly frames: number } | undefined {
    const saved = loadLocalPosition(this.#config.metaPath ?? '')?.wal;
    const head = this.#application.head();
    if (!saved || !head || head.mxFrame >= saved.frames) return undefined;
    return saltsEqual(Buffer.from(saved.salts, 'hex'), head.salts) ? saved : undefined;
  }

  /** Counts the starts that find other commits where captured frames were, in a WAL that looks the same. */
  #countOverwritten(): void {
    const lost = this.#lostPosition;
    this.#lostPosition = undefined;
    const head = lost && this.#machine.asApplication(() => this.#application.head());
    if (!head || !saltsEqual(Buffer.from(lost.salts, 'hex'), head.salts)) return;
    if (head.mxFrame >= lost.frames) this.#count('start over other commits under the same salts');
    else this.#count('start past the end of the WAL');
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
    this.#countOverwritten();
    this.#say('replicator starts');
    const thread: Pick<CaptureThread, 'open' | 'keep'> = {
      keep: (settings, logger) => {
        const [toCapture, toMain] = [new MessageLine(random), new MessageLine(random)];
        const caretaker = new Caretaker(settings, logger);
        this.#captures.push(caretaker);
        this.#caretaker = caretaker;
        const ended = Promise.withResolvers<void>();
        void caretaker.run().finally(() => toMain.send(ended.resolve));
        return {
          gauges: new CaptureGauges(),
          stop: () => {
            this.#caretaker = undefined;
            toCapture.send(() => caretaker.stop());
            return ended.promise;
          },
        };
      },
      open: (settings, start, listener, logger) => {
        // Two threads, which hear of each other in the order in which it was said, and later.
        const [toCapture, toMain] = [new MessageLine(random), new MessageLine(random)];
        const told: CaptureListener = {
          spooled: (file) => {
            this.#checkTold(file);
            toMain.send(() => listener.spooled(file));
          },
          state: (state) => toMain.send(() => listener.state(state)),
          progress: () => undefined,
          starved: () => toMain.send(() => listener.starved()),
          gaveUp: () => toMain.send(() => listener.gaveUp()),
        };
        const capture = new DatabaseCapture(settings, start, told, logger);
        this.#captures.push(capture);
        const ended = Promise.withResolvers<void>();
        ended.promise.catch(() => undefined);
        capture.run().then(
          () => toMain.send(ended.resolve),
          (error: unknown) => toMain.send(() => ended.reject(error)),
        );
        return {
          gauges: new CaptureGauges(),
          sync: () =>
            new Promise((resolve, reject) => {
              toCapture.send(() =>
                capture.sync().then(
                  (txid) => toMain.send(() => resolve(txid)),
                  (error: unknown) => toMain.send(() => reject(error)),
                ),
              );
            }),
          stored: (file) => toCapture.send(() => capture.stored(file)),
          giveUp: (what) => toCapture.send(() => capture.giveUp(what)),
          ended: ended.promise,
          stop: (hasRoom) => {
            toCapture.send(() => capture.stop(hasRoom));
            return ended.promise;
          },
        };
      },
    };
    const fail = (error: unknown): void => {
      if (this.#replication === replication && !isCrash(error)) this.#failure = error;
    };
    replication.ended.catch(fail);
    this.#hasStarted = false;
    replication.start(thread, new AbortController().signal, true).then(() => {
      if (this.#replication === replication) this.#hasStarted = true;
    }, fail);
    await this.#time.settle();
  }

  #logger(): Logger {
    const logger: Logger = {
      log: (level, message, fields) => {
        // One that goes on after a start has not yet caught up with what its read does not protect.
        const hasJustBegun = this.log.findLast((line) => line.startsWith('   '))?.includes('continuing where') === true;
        if (message === 'comparing the database with the replica' && !hasJustBegun && this.#machine.isSound) {
          this.#broken ??= new Broken(`a capture that runs has to compare: ${fields?.reason}`);
        }
        if (message === 'continuing where the last run stopped') this.#count('a start goes on in the WAL');
        if (message === 'read the whole database' || message.startsWith('the database '))
          this.#count('a start compares');
        if (message === 'gave up files that were not stored') this.#count('files are given up');
        if (message === 'a file that had been given up was stored all the same') this.#count('one of them was stored');
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
    let isComplete = false;
    const hasStarted = this.#hasStarted;
    const before = this.#machine.asApplication(() => this.#application.image());
    const stopping = replication.stop({ timeoutMs: 3000, everyMs: 500, signal }).then(
      ({ complete }) => {
        ended = true;
        isComplete = complete;
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
    // Only now: to look at it makes a WAL where there is none.
    const now = this.#machine.asApplication(() => this.#application.image());
    if (hasStarted && isComplete && before !== undefined && now?.equals(before)) {
      this.#expectNewest('what a stop said was complete');
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

  /** Stopped, or killed, and started again, while the application does little: what there is to go on in the WAL is still there. */
  async #restartSoon(): Promise<void> {
    const random = this.#random;
    if (!this.#replication) await this.#start(false);
    if (random() < 0.5) await this.#time.advance(random() < 0.5 ? REST_MS : QUIET_MS / 2);
    await this.#afterwards();
    if (random() < 0.5) await this.#stop();
    else this.#killReplicator();
    if (this.#replication) await this.#bury('died');
    for (let i = between(random, 0, 3); i > 0; i--) this.#asUsual(() => this.#application.tinyCommit('no checkpoint'));
    this.#say('restart soon');
    await this.#start(random() < 0.3);
    await this.#afterwards();
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
    this.#caretaker = undefined;
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
    // What a process answers once it is dead, nobody hears.
    if ((outcome as string) === 'stored' && isQuiet && !this.#machine.isDead)
      this.#expectNewest('what a sync said was stored');
  }

  // ---- What must hold ----

  /** Between two turns of the replicator's event loop nobody waits for it: its barrier is not up. */
  #checkNobodyWaits(): void {
    if (this.#machine.isDead) return;
    if (this.#machine.hasBarrier) this.#broken ??= new Broken('a barrier is left standing');
    const mayCommit = this.#machine.asApplication(() => this.#application.mayCommit());
    if (!mayCommit) this.#broken ??= new Broken('the application could not commit between two turns of the event loop');
  }

  /** What the replicator tells of survives a power loss: the file, and that it knows of it. */
  #checkTold(file: SpooledFile): void {
    const { metaPath = '' } = this.#config;
    const machine = this.#machine;
    if (!machine.isDurable(file.path)) {
      this.#broken ??= new Broken('a file was told of that a power loss would take');
    }
    // Without room the record may be missing: the next start reads the replica then.
    if (machine.room !== 'enough' || machine.isDead) return;
    const isRecorded = machine.asApplication(() => {
      if (loadLocalPosition(metaPath)?.txid !== file.txid) return false;
      const files = ['state', 'journal'].map((name) => join(metaPath, name));
      return files.every((path) => !fs.existsSync(path) || machine.isDurable(path));
    });
    if (!isRecorded) this.#broken ??= new Broken('a file was told of before the local state knows it');
  }

  /** Every file that gets into the store follows the one before, and makes a state that the database was in. */
  #checkStored(key: string, bytes: Buffer): void {
    if (!key.endsWith('.ltx')) return;
    if (key.startsWith(FILE_LAYOUT.levelPrefix(SNAPSHOT_LEVEL))) {
      this.#checkSnapshot(key, bytes);
      return;
    }
    const txid = (this.#restored?.txid ?? 0n) + 1n;
    if (key !== FILE_LAYOUT.key(0, txid, txid)) this.#broken ??= new Broken(`${key} does not follow TXID ${txid - 1n}`);
    const next = this.#machine.asApplication(() => afterFile(this.#restored, bytes));
    this.#restored = next;
    if (next) this.#states.set(FILE_LAYOUT.key(SNAPSHOT_LEVEL, 1n, txid), next);
    if (!next) this.#broken ??= new Broken(`${key} mixes two page sizes`);
    else if (!next.isProven) this.#broken ??= new Broken(`${key} has another database checksum than its pages`);
    else if (!this.#application.wasEver(next.image)) {
      this.#broken ??= new Broken('the replica holds a state that the database was never in');
    }
  }

  /** It comes after the file of its TXID; after later ones, too, where a start saw an old listing. */
  #checkSnapshot(key: string, bytes: Buffer): void {
    const state = this.#states.get(key);
    const snapshot = this.#machine.asApplication(() => afterFile(undefined, bytes));
    if (!state || !snapshot?.image.equals(state.image))
      this.#broken ??= new Broken(`${key} is not the state of its TXID`);
  }

  #expectNewest(what: string): void {
    const image = this.#restored?.image;
    const isNewest = this.#machine.asApplication(() => image !== undefined && this.#application.isNow(image));
    if (!isNewest) throw new Broken(`${what} is not the newest state`);
    if (!canBeMerged(this.#store.objects)) throw new Broken(`${what} has two page sizes and no snapshot`);
  }

  /** Everything works again, and the application is quiet: then the replica must hold its newest state. */
  async #comeToRest(): Promise<void> {
    this.#store.weather = 'fine';
    this.#machine.between = () => undefined;
    this.#machine.room = 'enough';
    this.#machine.failsCheckpoints = false;
    this.#machine.othersCheckpoint = 0;
    this.#lateRequests();
    this.#machine.asApplication(() => {
      this.#application.endTransactions('COMMIT');
      // With a rollback journal a reader keeps everybody from changing to WAL.
      if (!this.#application.hasWal) this.#application.stopReading();
    });
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
    this.#expectFreeWal();
    this.#expectNewest('what is stored while the application is quiet');
    await this.#stop();
    if (this.#broken) throw this.#broken;
    this.#expectNewest('what is stored when the application is quiet');
    this.#machine.asApplication(() => this.#application.close());
  }
}

function isCrash(error: unknown): boolean {
  return error instanceof Crash || (error instanceof Error && isCrash(error.cause));
}
