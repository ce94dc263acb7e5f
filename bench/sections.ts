import { join } from 'node:path';
import type { S3Server } from '../test/servers/s3-server.ts';
import { type AgainFigures, MEANWHILE, startAgain } from './again.ts';
import { addIncrements, firstReplication, restore } from './bulk.ts';
import { CHECKPOINT_MODES, type CheckpointFigures, type CheckpointSettings, checkpoints } from './checkpoints.ts';
import { type Contender, contest } from './contest.ts';
import { plainCopies, Workplace } from './copies.ts';
import { makeSparse } from './database.ts';
import type { Figures } from './figures.ts';
import { type IdleFigures, idle } from './idle.ts';
import { besideHugeTransaction } from './neighbour.ts';
import { type PutCpu, putCpu } from './put-cpu.ts';
import { BucketPlace, inBucket, type RequestFigures, requestsOf } from './s3.ts';
import { type SteadyFigures, type StreamSettings, steadyStream } from './steady.ts';
import type { Tool } from './tools.ts';
import { type Pace, type WaitFigures, waits } from './waits.ts';

/** What is measured, and with what. */
export interface Setting {
  /** An empty folder. */
  readonly work: string;
  /** Of each piece of work. */
  readonly runs: number;
  readonly databaseMib: number;
  readonly database: string;
  /** Of the database of the section `large`. */
  readonly largeMib: number;
  /** For work whose cost does not depend on the size. */
  readonly smallDatabase: string;
  readonly stream: StreamSettings;
  /** For the section `waits`; by name. `warmUp`: before anything is counted. */
  readonly paces: Readonly<Record<string, Pace>>;
  readonly warmUp: Pace;
  /** For the section `checkpoints`; by name. */
  readonly checkpoints: Readonly<Record<string, CheckpointSettings>>;
  /** For work with a bucket. */
  readonly bucketMib: number;
  readonly bucketDatabase: string;
  /** Undefined where there is none. */
  readonly s3: S3Server | undefined;
  readonly rivulet: Tool;
  readonly litestream: Tool | undefined;
  readonly sqlite3: Tool | undefined;
}

/** By the name of the contender. */
export type BulkResult = Readonly<Record<string, Figures>>;
export type SteadyResult = Readonly<Record<string, SteadyFigures>>;

interface BulkSection {
  readonly kind: 'bulk';
  readonly by: BulkResult;
}

export type RequestsResult = Readonly<Record<string, RequestFigures>>;
/** By the name of the pace, and then of the contender. */
export type WaitsResult = Readonly<Record<string, Readonly<Record<string, WaitFigures>>>>;
/** By what happens meanwhile, and then by the contender. */
export type AgainResult = Readonly<Record<string, Readonly<Record<string, AgainFigures>>>>;
export type IdleResult = Readonly<Record<string, IdleFigures>>;
/** By the kind of checkpoint, and then of the contender. */
export type CheckpointsResult = Readonly<Record<string, Readonly<Record<string, CheckpointFigures>>>>;
export type CpuResult = Readonly<Record<string, PutCpu>>;

export type Result =
  | BulkSection
  | { readonly kind: 'steady'; readonly by: SteadyResult }
  | { readonly kind: 'requests'; readonly by: RequestsResult }
  | { readonly kind: 'again'; readonly by: AgainResult }
  | { readonly kind: 'idle'; readonly by: IdleResult }
  | { readonly kind: 'waits'; readonly by: WaitsResult }
  | { readonly kind: 'checkpoints'; readonly by: CheckpointsResult }
  | { readonly kind: 'cpu'; readonly by: CpuResult }
  /** Not measured: something that it needs is not on this machine. */
  | { readonly kind: 'missing'; readonly what: string };

export type SectionName =
  | 'first'
  | 'restore'
  | 'increments'
  | 'large'
  | 'stream'
  | 'at-once'
  | 'waits'
  | 'again'
  | 'idle'
  | 'checkpoints'
  | 'neighbour'
  | 'start'
  | 's3-restore'
  | 's3-requests'
  | 's3-cpu';
export type Results = { [name in SectionName]?: Result };

export interface Section {
  readonly name: SectionName;
  title(setting: Setting): string;
  run(setting: Setting): Promise<Result>;
}

const INCREMENTS = 50;
const STARTS_A_RUN = 5;
const MANY_DATABASES = 200;
/** More than they can all be looked at one after the other all the time. */
const VERY_MANY_DATABASES = 2000;
/** Long enough for the transaction, and what becomes of it. */
const NEIGHBOUR = { hugeMib: 450, commitsPerSecond: 50, commitsBetween: [3, 7], checkpoints: 120 } as const;
const SHORTEST_INTERVAL = '0s';
/** The contenders of the section `large`. */
export const LARGE_FIRST = 'first replication';
export const LARGE_RESTORE = 'restore';

export const SECTIONS: readonly Section[] = [
  { name: 'first', title: ({ databaseMib }) => `First replication of ${databaseMib} MiB (-once)`, run: runFirst },
  { name: 'restore', title: ({ databaseMib }) => `Restore of ${databaseMib} MiB from one image`, run: runRestore },
  {
    name: 'increments',
    title: ({ databaseMib }) => `Restore of ${databaseMib} MiB from an image and ${INCREMENTS} increments`,
    run: runIncrements,
  },
  { name: 'large', title: ({ largeMib }) => `Memory at ${largeMib} MiB of empty pages, one run`, run: runLarge },
  {
    name: 'stream',
    title: ({ stream }) =>
      `Steady stream: ${stream.commitsPerSecond} commits a second for ${stream.seconds} s, default settings`,
    run: runStream,
  },
  {
    name: 'at-once',
    title: ({ stream }) =>
      `The same with a sync interval of ${SHORTEST_INTERVAL}: ${stream.commitsPerSecond} commits a second for ${stream.seconds} s`,
    run: runAtOnce,
  },
  {
    name: 'waits',
    title: () => 'What an application waits for its commits; the run in the middle',
    run: runWaits,
  },
  {
    name: 'again',
    title: ({ databaseMib }) =>
      `Ten rows of ${databaseMib} MiB are changed while the tool is away; started again (-once)`,
    run: runAgain,
  },
  { name: 'idle', title: () => 'Databases to which nothing is written', run: runIdle },
  {
    name: 'checkpoints',
    title: () => 'What an application waits for its own checkpoints, by the rate of its commits',
    run: runCheckpoints,
  },
  {
    name: 'neighbour',
    title: () => `The same while another database of the process commits ${NEIGHBOUR.hugeMib} MiB in one transaction`,
    run: runNeighbour,
  },
  { name: 'start', title: () => 'Start-up: restore -if-db-not-exists with the database there', run: runStart },
  {
    name: 's3-restore',
    title: ({ bucketMib }) => `Restore of ${bucketMib} MiB from an S3 gateway (Ceph, on this machine)`,
    run: runBucketRestore,
  },
  {
    name: 's3-requests',
    title: ({ stream }) =>
      `Requests to the S3 gateway: ${stream.commitsPerSecond} commits a second for ${stream.seconds} s, then nothing`,
    run: runRequests,
  },
  {
    name: 's3-cpu',
    title: () => 'CPU of the client for a PUT of 4 KiB, to a server that does nothing',
    run: runPutCpu,
  },
];

function tools({ rivulet, litestream }: Setting): Tool[] {
  return litestream ? [rivulet, litestream] : [rivulet];
}

function placeOf({ work }: Setting, tool: Tool): Workplace {
  return new Workplace(work, tool.name);
}

async function bulk(contenders: readonly Contender[], runs: number, warmUps = 1): Promise<BulkSection> {
  return { kind: 'bulk', by: Object.fromEntries(await contest(contenders, { warmUps, runs })) };
}

function runFirst(setting: Setting): Promise<Result> {
  const { database, work, sqlite3, runs } = setting;
  const contenders = tools(setting).map((tool) => firstReplication(tool, placeOf(setting, tool), database));
  return bulk([...contenders, ...plainCopies(database, work, sqlite3)], runs);
}

/** Each tool restores what it stored itself. */
async function runRestore(setting: Setting): Promise<Result> {
  await replicateAnew(setting);
  return restoreContest(setting, setting.database);
}

async function runIncrements(setting: Setting): Promise<Result> {
  await replicateAnew(setting);
  for (const tool of tools(setting)) await addIncrements(tool, placeOf(setting, tool), INCREMENTS);
  return restoreContest(setting, placeOf(setting, setting.rivulet).databasePath);
}

async function replicateAnew(setting: Setting): Promise<void> {
  await contest(
    tools(setting).map((tool) => firstReplication(tool, placeOf(setting, tool), setting.database)),
    { warmUps: 0, runs: 1 },
  );
}

function restoreContest(setting: Setting, expected: string): Promise<Result> {
  const { rivulet, work, sqlite3, runs } = setting;
  const contenders = tools(setting).map((tool) =>
    // Litestream writes to the database that it replicates, so there it is not the one that the others began with.
    restore(tool, placeOf(setting, tool), tool === rivulet ? expected : undefined),
  );
  return bulk([...contenders, ...plainCopies(expected, work, sqlite3)], runs);
}

/** What memory does when a database grows: many pages, and next to nothing in them. */
async function runLarge({ work, rivulet, largeMib }: Setting): Promise<Result> {
  const place = new Workplace(work, 'large');
  const { name: _, ...first } = firstReplication(rivulet, place, '');
  const prepare = (): void => {
    place.clear();
    makeSparse(place.databasePath, largeMib);
  };
  const again = restore(rivulet, place, place.databasePath);
  const result = await bulk([{ ...first, name: LARGE_FIRST, prepare }], 1, 0);
  const restored = await bulk([{ ...again, name: LARGE_RESTORE }], 1, 0);
  place.clear();
  return { kind: 'bulk', by: { ...result.by, ...restored.by } };
}

async function runStream(setting: Setting): Promise<Result> {
  const by: Record<string, SteadyFigures> = {};
  for (const tool of [...tools(setting), undefined]) {
    const name = tool?.name ?? 'no replication';
    by[name] = await steadyStream(tool, new Workplace(setting.work, 'stream'), setting.smallDatabase, setting.stream);
  }
  return { kind: 'steady', by };
}

async function runAtOnce({ work, smallDatabase, stream, rivulet }: Setting): Promise<Result> {
  const place = new Workplace(work, 'stream');
  const settings = { ...stream, syncInterval: SHORTEST_INTERVAL };
  return { kind: 'steady', by: { [rivulet.name]: await steadyStream(rivulet, place, smallDatabase, settings) } };
}

async function runWaits(setting: Setting): Promise<Result> {
  const { work, smallDatabase, paces, warmUp, runs } = setting;
  const place = (name: string): Workplace => new Workplace(work, name);
  const contenders = [...tools(setting), undefined];
  const by: Record<string, Readonly<Record<string, WaitFigures>>> = {};
  for (const [name, pace] of Object.entries(paces))
    by[name] = await waits(contenders, place, smallDatabase, { warmUp, pace }, runs);
  return { kind: 'waits', by };
}

async function runAgain(setting: Setting): Promise<Result> {
  const by: Record<string, Record<string, AgainFigures>> = {};
  for (const meanwhile of MEANWHILE) {
    const figures: Record<string, AgainFigures> = {};
    for (const tool of tools(setting)) {
      figures[tool.name] = await startAgain(tool, placeOf(setting, tool), setting.database, meanwhile, setting.runs);
    }
    by[meanwhile] = figures;
  }
  return { kind: 'again', by };
}

async function runIdle(setting: Setting): Promise<Result> {
  const few = await idle(tools(setting), setting.work, [1, MANY_DATABASES]);
  return { kind: 'idle', by: { ...few, ...(await idle(tools(setting), setting.work, [VERY_MANY_DATABASES])) } };
}

async function runCheckpoints(setting: Setting): Promise<Result> {
  const { work, smallDatabase } = setting;
  const by: Record<string, Record<string, CheckpointFigures>> = {};
  for (const [pace, settings] of Object.entries(setting.checkpoints)) {
    for (const mode of CHECKPOINT_MODES) {
      const figures: Record<string, CheckpointFigures> = {};
      for (const tool of [...tools(setting), undefined]) {
        const name = tool?.name ?? 'alone';
        figures[name] = await checkpoints(tool, new Workplace(work, name), smallDatabase, mode, settings);
      }
      by[`${mode}, ${pace}`] = figures;
    }
  }
  return { kind: 'checkpoints', by };
}

/** Litestream refuses such checkpoints anyway. */
async function runNeighbour({ work, smallDatabase, rivulet }: Setting): Promise<Result> {
  const by: Record<string, Record<string, CheckpointFigures>> = {};
  for (const mode of CHECKPOINT_MODES) {
    const folder = join(work, 'neighbour');
    by[mode] = {
      [rivulet.name]: await besideHugeTransaction(rivulet, folder, smallDatabase, mode, NEIGHBOUR),
      alone: await besideHugeTransaction(undefined, folder, smallDatabase, mode, NEIGHBOUR),
    };
  }
  return { kind: 'checkpoints', by };
}

function runStart(setting: Setting): Promise<Result> {
  const url = new Workplace(setting.work, 'nowhere').replicaUrl;
  const contenders = tools(setting).map(
    (tool): Contender => ({
      name: tool.name,
      command: [tool.program, 'restore', '-if-db-not-exists', '-o', setting.smallDatabase, url],
      env: tool.env,
      prepare: () => undefined,
    }),
  );
  const node: Contender = {
    name: 'node -e 0',
    command: [process.execPath, '-e', '0'],
    env: process.env,
    prepare: () => undefined,
  };
  return bulk([...contenders, node], STARTS_A_RUN * setting.runs);
}

const NO_GATEWAY: Result = { kind: 'missing', what: "Ceph's S3 gateway (radosgw, ceph-mon and ceph-osd)" };

/** Each tool restores what it stored itself. */
async function runBucketRestore(setting: Setting): Promise<Result> {
  const { s3, bucketDatabase, rivulet, runs } = setting;
  if (!s3) return NO_GATEWAY;
  const contenders: Contender[] = [];
  for (const tool of tools(setting)) {
    const place = placeOf(setting, tool);
    const bucket = await BucketPlace.make(s3);
    const { check: _, ...first } = inBucket(
      firstReplication(tool, place, bucketDatabase),
      tool,
      bucket,
      place.replicaUrl,
    );
    await contest([first], { warmUps: 0, runs: 1 });
    const again = restore(tool, place, tool === rivulet ? bucketDatabase : undefined);
    contenders.push(inBucket(again, tool, bucket, place.replicaUrl));
  }
  return bulk(contenders, runs);
}

async function runRequests(setting: Setting): Promise<Result> {
  const { s3, smallDatabase, stream } = setting;
  if (!s3) return NO_GATEWAY;
  const by: Record<string, RequestFigures> = {};
  for (const tool of tools(setting)) {
    by[tool.name] = await requestsOf(tool, s3, placeOf(setting, tool), smallDatabase, stream);
  }
  return { kind: 'requests', by };
}

async function runPutCpu({ runs }: Setting): Promise<Result> {
  return { kind: 'cpu', by: await putCpu(runs) };
}
