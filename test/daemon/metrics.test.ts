import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { formatListenAddress, parseListenAddress } from '../../src/config/listen-address.ts';
import { type Measures, metricsText } from '../../src/daemon/metrics.ts';
import { eventually, RIVULET, rivulet, run, undoAfter, workFolder } from '../support/processes.ts';
import { createDatabase, insertRows } from '../support/tools.ts';

/** A line of Prometheus' text format. */
const LINE =
  /^(?:# (?:HELP|TYPE) ([a-z_]+) .+|([a-z_]+)(?:\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})? -?\d+(?:\.\d+)?(?:e[+-]\d+)?)$/;

const QUIET: Measures = {
  path: '/data/app.db',
  state: 'attached',
  gauges: undefined,
  capturedTxid: 7n,
  storedTxid: 5n,
  storedFiles: 5,
  storedBytes: 500,
  waitingFiles: 2,
  waitingBytes: 200,
  waitingSinceMs: 10_000,
  uploadFailures: 1,
};

test('every line of the metrics is in the text format, also for a path with quotes and line breaks', () => {
  const gauges = new CaptureGauges();
  gauges.addBarrier(0.3);
  const text = metricsText([QUIET, { ...QUIET, path: 'a"b\\c\nd', gauges }], 12_500);
  assert.ok(text.endsWith('\n'));
  for (const line of text.trimEnd().split('\n')) assert.match(line, LINE);
  assert.ok(text.includes('rivulet_waiting_seconds{db="/data/app.db"} 2.5\n'));
  assert.ok(text.includes('rivulet_state{db="a\\"b\\\\c\\nd",state="attached"} 1\n'));
});

test('barriers are counted in classes that each hold those below', () => {
  const gauges = new CaptureGauges();
  for (const ms of [0.05, 0.3, 0.4, 7, 5000]) gauges.addBarrier(ms);
  const seen = new CaptureGauges(gauges.memory); // as the other thread sees it
  const text = metricsText([{ ...QUIET, gauges: seen }], 0);
  const counts = [...text.matchAll(/rivulet_barrier_ms_bucket\{.*le="(.*)"\} (\d+)/g)].map(([, le, count]) => [
    le,
    count,
  ]);
  assert.deepEqual(counts.slice(0, 4), [
    ['0.1', '1'],
    ['0.25', '1'],
    ['0.5', '3'],
    ['1', '3'],
  ]);
  assert.deepEqual(counts.slice(-2), [
    ['1000', '4'],
    ['+Inf', '5'],
  ]);
  assert.ok(text.includes('rivulet_barrier_most_ms{db="/data/app.db"} 5000\n'));
});

test('an address to listen on has a port, and a host or none', () => {
  for (const text of [':9090', '127.0.0.1:9090', 'localhost:1', '[::1]:9090']) {
    const address = parseListenAddress(text);
    assert.ok(address, text);
    assert.equal(formatListenAddress(address), text);
  }
  for (const text of [
    '',
    '9090',
    'localhost',
    '::1:9090',
    'host:',
    'host:99999',
    'http://host:1',
    ':9090/metrics',
    '[::1]',
  ]) {
    assert.equal(parseListenAddress(text), undefined, text);
  }
});

test('a running replication gives its metrics', async (t) => {
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const config = join(folder, 'rivulet.yml');
  writeFileSync(
    config,
    `addr: 127.0.0.1:0\ndbs: [{ path: '${path}', replica: { path: '${folder}/replica', sync-interval: 50ms } }]\n`,
  );
  const db = createDatabase(path);
  undoAfter(t, () => db.close());
  const process = rivulet(t, ['replicate', '-config', config]);
  const [, url = ''] = await process.says(/url=(http:\S+)/);
  const metrics = async (): Promise<string> => (await fetch(url)).text();
  await eventually(
    'the image is stored',
    async () => /rivulet_stored_txid\{.*\} 1\n/.test(await metrics()) || undefined,
  );
  insertRows(db, 500);
  await eventually('the rows are stored, and the WAL is in the database', async () => {
    const text = await metrics();
    const figure = (name: string): number => Number(new RegExp(`^${name}\\{.*\\} (.*)$`, 'm').exec(text)?.[1]);
    const isDone =
      figure('rivulet_stored_txid') >= 2 &&
      figure('rivulet_wal_captured_bytes_total') > 0 &&
      figure('rivulet_wal_bytes') > 0 &&
      figure('rivulet_wal_waiting_frames') === 0 &&
      figure('rivulet_handovers_total') >= 1 &&
      figure('rivulet_comparisons_total') === 1 &&
      figure('rivulet_waiting_files') === 0;
    return isDone || undefined;
  });
  assert.equal((await fetch(new URL('/', url))).status, 404);
  assert.equal((await fetch(url, { method: 'POST' })).status, 405);
  assert.equal((await process.end()).status, 0, process.output);
});

test('where somebody else listens, nothing is started', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => void other.close());
  const { port } = other.address() as AddressInfo; // it listens on a port
  const folder = workFolder(t);
  const config = join(folder, 'rivulet.yml');
  writeFileSync(
    config,
    `addr: 127.0.0.1:${port}\ndbs: [{ path: '${folder}/app.db', replica: { path: '${folder}/replica' } }]\n`,
  );
  const { status, stderr } = await run(t, RIVULET, ['replicate', '-config', config]);
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`^Error: cannot listen on 127.0.0.1:${port} for metrics: .*EADDRINUSE`, 'm'));
  assert.match(stderr, /^Try: change addr/m);
  writeFileSync(config, `addr: nowhere\ndbs: []\n`);
  const refused = await run(t, RIVULET, ['replicate', '-config', config]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /rivulet\.yml:1:\d+: addr: "nowhere" is not an address to listen on/);
});
