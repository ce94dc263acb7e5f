import { BARRIER_CLASSES_MS, type CaptureGauges, type GaugeName } from '../capture/gauges.ts';
import type { CaptureState } from '../capture/options.ts';

/** What is known of one database that is replicated. */
export interface Measures {
  readonly path: string;
  readonly state: CaptureState['kind'];
  /** Undefined until the capture is open. */
  readonly gauges: CaptureGauges | undefined;
  readonly capturedTxid: bigint;
  readonly storedTxid: bigint;
  /** Files and bytes that are stored since the start, and those that are not stored yet. */
  readonly storedFiles: number;
  readonly storedBytes: number;
  readonly waitingFiles: number;
  readonly waitingBytes: number;
  /** When the oldest of the latter was captured, ms since 1970. */
  readonly waitingSinceMs: number | undefined;
  readonly uploadFailures: number;
}

const STATES: readonly CaptureState['kind'][] = ['waiting', 'attached', 'suspended', 'failed'];

/** Answers what Prometheus asks: its text format, version 0.0.4. */
export function metricsText(all: readonly Measures[], nowMs: number): string {
  const text = new MetricsText();
  const perDatabase = (name: string, type: Type, help: string, value: (measures: Measures) => number): void => {
    text.head(name, type, help);
    for (const measures of all) text.line(name, { db: measures.path }, value(measures));
  };
  const gauge = (name: string, type: Type, help: string, field: GaugeName): void =>
    perDatabase(name, type, help, ({ gauges }) => gauges?.get(field) ?? 0);

  gauge(
    'rivulet_database_bytes',
    'gauge',
    'Size of the database as of the last captured commit; before the first, as it is.',
    'databaseBytes',
  );
  gauge('rivulet_wal_bytes', 'gauge', 'Size of the WAL file.', 'walFileBytes');
  gauge('rivulet_wal_most_bytes', 'gauge', 'Largest size of the WAL file since the start.', 'walFileMostBytes');
  gauge(
    'rivulet_wal_waiting_frames',
    'gauge',
    'Frames of the WAL that are not in the database file yet.',
    'walFramesWaiting',
  );
  gauge('rivulet_wal_captured_bytes_total', 'counter', 'Bytes of the WAL that were captured.', 'walCapturedBytes');
  gauge(
    'rivulet_comparisons_total',
    'counter',
    'Times that every page was read: images and comparisons.',
    'comparisons',
  );
  gauge(
    'rivulet_comparison_wal_most_bytes',
    'gauge',
    'Most bytes by which the WAL grew while every page was read.',
    'comparisonWalMostBytes',
  );
  text.head('rivulet_handovers_total', 'counter', 'Handovers of the WAL for a checkpoint, by how they ended.');
  for (const { path, gauges } of all) {
    for (const [outcome, field] of [
      ['done', 'handoversDone'],
      ['blocked', 'handoversBlocked'],
      ['busy', 'handoversBusy'],
    ] as const) {
      text.line('rivulet_handovers_total', { db: path, outcome }, gauges?.get(field) ?? 0);
    }
  }
  text.head('rivulet_barrier_ms', 'histogram', 'How long writers were held up by handovers, ms.');
  for (const { path, gauges } of all) if (gauges) addBarriers(text, path, gauges);
  gauge('rivulet_barrier_most_ms', 'gauge', 'Longest time that writers were held up, ms.', 'barrierMostMs');

  text.head('rivulet_state', 'gauge', '1 for the state that the capture is in.');
  for (const { path, state } of all)
    for (const known of STATES) text.line('rivulet_state', { db: path, state: known }, known === state ? 1 : 0);
  perDatabase('rivulet_captured_txid', 'gauge', 'Newest TXID that is captured.', (m) => Number(m.capturedTxid));
  perDatabase('rivulet_stored_txid', 'gauge', 'Newest TXID that is in the store.', (m) => Number(m.storedTxid));
  perDatabase('rivulet_stored_files_total', 'counter', 'Files that were stored.', (m) => m.storedFiles);
  perDatabase('rivulet_stored_bytes_total', 'counter', 'Bytes that were stored.', (m) => m.storedBytes);
  perDatabase('rivulet_waiting_files', 'gauge', 'Captured files that are not stored yet.', (m) => m.waitingFiles);
  perDatabase('rivulet_waiting_bytes', 'gauge', 'Captured bytes that are not stored yet.', (m) => m.waitingBytes);
  perDatabase('rivulet_waiting_seconds', 'gauge', 'Age of the oldest captured file that is not stored yet.', (m) =>
    m.waitingSinceMs === undefined ? 0 : Math.max(0, nowMs - m.waitingSinceMs) / 1000,
  );
  perDatabase(
    'rivulet_upload_failures_total',
    'counter',
    'Tries to store a file that failed.',
    (m) => m.uploadFailures,
  );
  addProcess(text, nowMs);
  return text.toString();
}

function addBarriers(text: MetricsText, db: string, gauges: CaptureGauges): void {
  let count = 0;
  BARRIER_CLASSES_MS.forEach((upTo, place) => {
    count += gauges.barrierClass(place);
    text.line('rivulet_barrier_ms_bucket', { db, le: String(upTo) }, count);
  });
  text.line('rivulet_barrier_ms_bucket', { db, le: '+Inf' }, gauges.get('barriers'));
  text.line('rivulet_barrier_ms_sum', { db }, gauges.get('barrierSumMs'));
  text.line('rivulet_barrier_ms_count', { db }, gauges.get('barriers'));
}

function addProcess(text: MetricsText, nowMs: number): void {
  const { user, system } = process.cpuUsage();
  const single = (name: string, type: Type, help: string, value: number): void => {
    text.head(name, type, help);
    text.line(name, {}, value);
  };
  single('process_cpu_seconds_total', 'counter', 'CPU time in user and system mode.', (user + system) / 1e6);
  single('process_resident_memory_bytes', 'gauge', 'Resident memory.', process.memoryUsage.rss());
  single('process_start_time_seconds', 'gauge', 'Start of the process, s since 1970.', nowMs / 1000 - process.uptime());
}

type Type = 'counter' | 'gauge' | 'histogram';

class MetricsText {
  readonly #lines: string[] = [];

  head(name: string, type: Type, help: string): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  }

  line(name: string, labels: Readonly<Record<string, string>>, value: number): void {
    const written = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    this.#lines.push(`${name}${written.length > 0 ? `{${written.join(',')}}` : ''} ${value}`);
  }

  toString(): string {
    return `${this.#lines.join('\n')}\n`;
  }
}

function escaped(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}
