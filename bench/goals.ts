import type { Figures } from './figures.ts';
import type { RequestFigures } from './s3.ts';
import { LARGE_FIRST, LARGE_RESTORE, type Result, type Results } from './sections.ts';
import type { SteadyFigures } from './steady.ts';

/** A promise that the figures must keep. */
export interface Goal {
  readonly goal: string;
  readonly measured: string;
  readonly met: boolean;
}

const LEAST_TIMES_AS_FAST = 4;
const MOST_MIB = 200;
const MOST_LAG_MS = 1000;
const MOST_STARTS = 2;
const SYNC_INTERVAL_SECONDS = 1;
const MOST_AGAIN_BYTES = 500_000;
/** From so many databases on, what each of them costs is told by all of them together. */
const MANY = 1000;
const MOST_OF_MANY = { cpuMs: 1, kib: 1024, descriptors: 10 } as const;
const MOST_IDLE_SECONDS = 0.05;
/** Pages of 4 KiB and their frame headers. */
const MOST_WAL_BYTES = 121_359 * 4120;

/** The goals that these results speak about. */
export function goalsOf(results: Results): Record<string, Goal> {
  const goals: Record<string, Goal> = {};
  for (const [name, work] of [
    ['first', 'first replication'],
    ['restore', 'restore'],
    ['increments', 'restore with increments'],
    ['s3-restore', 'restore from S3'],
  ] as const) {
    const ours = bulkOf(results[name], 'rivulet');
    const theirs = bulkOf(results[name], 'litestream');
    if (ours && theirs) goals[`${name}Speed`] = speedGoal(work, ours, theirs);
    if (ours?.peakMib !== undefined) goals[`${name}Memory`] = memoryGoal(work, ours.peakMib);
  }
  for (const name of [LARGE_FIRST, LARGE_RESTORE]) {
    const large = bulkOf(results.large, name);
    if (large?.peakMib !== undefined) goals[`large ${name} memory`] = memoryGoal(`${name}, large`, large.peakMib);
  }
  const lag = steadyOf(results.stream, 'rivulet')?.lag;
  if (lag) goals.streamLag = lagGoal(lag.mostMs);
  Object.assign(goals, waitGoals(results.waits), againGoals(results.again), idleGoals(results.idle));
  const start = bulkOf(results.start, 'rivulet');
  const node = bulkOf(results.start, 'node -e 0');
  if (start && node) goals.startTime = startGoal(start, node);
  const requests = requestsBy(results['s3-requests'], 'rivulet');
  if (requests) Object.assign(goals, requestGoals(requests));
  return goals;
}

function bulkOf(result: Result | undefined, name: string): Figures | undefined {
  return result?.kind === 'bulk' ? result.by[name] : undefined;
}

function steadyOf(result: Result | undefined, name: string): SteadyFigures | undefined {
  return result?.kind === 'steady' ? result.by[name] : undefined;
}

function requestsBy(result: Result | undefined, name: string): RequestFigures | undefined {
  return result?.kind === 'requests' ? result.by[name] : undefined;
}

function requestGoals({ stream, streamSeconds, idle, idleSeconds }: RequestFigures): Record<string, Goal> {
  // An interval that begins as the stream ends has one, too.
  const most = Math.ceil(streamSeconds / SYNC_INTERVAL_SECONDS) + 1;
  const idleRequests = idle.put + idle.get + idle.list + idle.other;
  return {
    s3Puts: {
      goal: 'S3, steady stream: at most one PUT for each second (and the last one), and no other request',
      measured: `${stream.put} in ${streamSeconds.toFixed(1)} s, ${stream.get + stream.other} others`,
      met: stream.put <= most && stream.get + stream.other === 0,
    },
    s3Lists: {
      goal: 'S3: no LIST after the start',
      measured: `${stream.list + idle.list}`,
      met: stream.list + idle.list === 0,
    },
    s3Idle: {
      goal: 'S3: no request when idle',
      measured: `${idleRequests} in ${idleSeconds} s`,
      met: idleRequests === 0,
    },
  };
}

function speedGoal(work: string, ours: Figures, theirs: Figures): Goal {
  const times = theirs.medianSeconds / ours.medianSeconds;
  return {
    goal: `${work}: at least ${LEAST_TIMES_AS_FAST} times as fast as Litestream`,
    measured: `${times.toFixed(1)} times`,
    met: times >= LEAST_TIMES_AS_FAST,
  };
}

function memoryGoal(work: string, peakMib: number): Goal {
  return {
    goal: `${work}: memory under ${MOST_MIB} MiB`,
    measured: `${Math.round(peakMib)} MiB`,
    met: peakMib < MOST_MIB,
  };
}

function lagGoal(mostMs: number): Goal {
  return {
    goal: 'steady stream: every commit stored within 1 s',
    measured: `${(mostMs / 1000).toFixed(2)} s at most`,
    met: mostMs <= MOST_LAG_MS,
  };
}

/** Each pace has goals of its own. */
function waitGoals(result: Result | undefined): Record<string, Goal> {
  const goals: Record<string, Goal> = {};
  for (const [pace, { rivulet, litestream, alone }] of result?.kind === 'waits' ? Object.entries(result.by) : []) {
    if (!rivulet) continue;
    const add = (name: string, goal: string, ours?: number, theirs?: number, most = 1): void => {
      if (ours === undefined || theirs === undefined) return;
      const measured = `${(ours / theirs).toFixed(2)} of it`;
      goals[`waits ${pace} ${name}`] = { goal: `commits ${pace}: ${goal}`, measured, met: ours <= most * theirs };
    };
    add('p99', 'p99 within 10 % of alone', rivulet.p99Ms, alone?.p99Ms, 1.1);
    add('longest', 'longest wait no worse than beside Litestream', rivulet.mostMs, litestream?.mostMs);
    const cpu = 'at most half of Litestream’s CPU for a MB of WAL';
    add('CPU', cpu, rivulet.cpuMsPerMb, litestream?.cpuMsPerMb, 0.5);
    goals[`waits ${pace} WAL`] = {
      goal: `commits ${pace}: the WAL stays under the default of truncate-page-n`,
      measured: `${(rivulet.walMostBytes / 1e6).toFixed(0)} of ${(MOST_WAL_BYTES / 1e6).toFixed(0)} MB`,
      met: rivulet.walMostBytes < MOST_WAL_BYTES,
    };
  }
  return goals;
}

function againGoals(result: Result | undefined): Record<string, Goal> {
  const goals: Record<string, Goal> = {};
  for (const [meanwhile, { rivulet }] of result?.kind === 'again' ? Object.entries(result.by) : []) {
    if (!rivulet) continue;
    goals[`again ${meanwhile}`] = {
      goal: `started again, ten ${meanwhile}: less than ${MOST_AGAIN_BYTES / 1000} kB stored`,
      measured: `${Math.round(rivulet.storedBytes / 1000)} kB`,
      met: rivulet.storedBytes > 0 && rivulet.storedBytes < MOST_AGAIN_BYTES,
    };
  }
  return goals;
}

function idleGoals(result: Result | undefined): Record<string, Goal> {
  const all = result?.kind === 'idle' ? Object.entries(result.by) : [];
  const goals: Record<string, Goal> = {};
  for (const [name, { databases, cpuSeconds, peakMib, descriptors }] of all) {
    if (!name.startsWith('rivulet,') || cpuSeconds === undefined) continue;
    if (databases === 1) {
      goals.idle = {
        goal: `one idle database: less than ${MOST_IDLE_SECONDS} s of CPU in 20 s`,
        measured: `${cpuSeconds.toFixed(2)} s`,
        met: cpuSeconds < MOST_IDLE_SECONDS,
      };
    } else if (databases >= MANY && peakMib !== undefined && descriptors !== undefined) {
      const [kib, each] = [(peakMib * 1024) / databases, descriptors / databases];
      goals.idleMany = {
        goal: `${databases} idle databases: less than ${MOST_OF_MANY.cpuMs} ms of CPU in 20 s, ${MOST_OF_MANY.kib} KiB and ${MOST_OF_MANY.descriptors} descriptors for each`,
        measured: `${((cpuSeconds / databases) * 1000).toFixed(2)} ms, ${kib.toFixed(0)} KiB, ${each.toFixed(1)}`,
        met:
          (cpuSeconds / databases) * 1000 < MOST_OF_MANY.cpuMs &&
          kib < MOST_OF_MANY.kib &&
          each < MOST_OF_MANY.descriptors,
      };
    }
  }
  return goals;
}

function startGoal(ours: Figures, node: Figures): Goal {
  const times = ours.medianSeconds / node.medianSeconds;
  return {
    goal: `start-up with nothing to do: at most ${MOST_STARTS} times node -e 0`,
    measured: `${times.toFixed(2)} times`,
    met: times <= MOST_STARTS,
  };
}
