import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aroundProgress, Progress, replicationBar } from '../../src/cli/progress.ts';

class FakeTarget {
  readonly written: string[] = [];
  readonly isTTY: boolean;
  readonly columns: number;
  nowMs = 0;

  constructor(isTTY: boolean, columns = 100) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.written.push(text);
  }

  progress(quiet = false): Progress {
    return new Progress({ label: 'restore', quiet, target: this, now: () => this.nowMs });
  }
}

const HALF = { doneBytes: 1_000_000, totalBytes: 2_000_000, phase: 'fetch' };

test('elsewhere than on a terminal there is a plain line every few seconds', () => {
  const target = new FakeTarget(false);
  const progress = target.progress();
  for (target.nowMs = 0; target.nowMs <= 11_000; target.nowMs += 100) progress.update(HALF);
  progress.done();
  assert.deepEqual(target.written, [
    'restore: fetch 50% 1.0 MB of 2.0 MB, 5.0s\n',
    'restore: fetch 50% 1.0 MB of 2.0 MB, 10.0s\n',
  ]);
});

test('on a terminal there is a bar in one line, which goes away at the end', () => {
  const target = new FakeTarget(true);
  const progress = target.progress();
  for (target.nowMs = 0; target.nowMs < 1000; target.nowMs += 10) progress.update(HALF);
  progress.done();
  progress.update(HALF);
  assert.ok(target.written.length > 5 && target.written.length < 15, `${target.written.length} writes`);
  const [first = ''] = target.written;
  assert.ok(first.startsWith('\r\x1b[2Krestore '), first);
  assert.match(first, / 50% fetch 1\.0 MB of 2\.0 MB$/);
  assert.equal(target.written.at(-1), '\r\x1b[2K');
  assert.ok(!target.written.join('').includes('\n'));
});

test('a bar never fills the last column of a narrow terminal', () => {
  for (const columns of [10, 40, 60, 80]) {
    const target = new FakeTarget(true, columns);
    const progress = target.progress();
    target.nowMs = 1000;
    progress.update(HALF);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal codes are control characters
    const shown = (target.written[0] ?? '').replace(/\r|\x1b\[[0-9;]*[mK]/g, '');
    assert.ok(shown.length > 0 && shown.length < columns, `${shown.length} of ${columns}`);
  }
});

test('short work and quiet work show nothing', () => {
  for (const [target, quiet] of [
    [new FakeTarget(true), false],
    [new FakeTarget(true), true],
    [new FakeTarget(false), true],
  ] as const) {
    const progress = target.progress(quiet);
    progress.update(HALF);
    target.nowMs = quiet ? 60_000 : 100;
    progress.update(HALF);
    progress.done();
    assert.deepEqual(target.written, []);
  }
});

test('work without a known size is not divided by it', () => {
  const target = new FakeTarget(false);
  const progress = target.progress();
  target.nowMs = 6000;
  progress.update({ doneBytes: 0, totalBytes: 0, phase: 'verify' });
  assert.deepEqual(target.written, ['restore: verify 100% 0 B of 0 B, 6.0s\n']);
});

test('replicate shows which database is read, makes room for its log, and takes the bar away at the end', () => {
  const target = new FakeTarget(true);
  const progress = target.progress();
  const { progress: tell } = replicationBar(progress)('/data/app.db');
  target.nowMs = 1000;
  tell?.('reading', 1_000_000, 2_000_000);
  assert.match(target.written.at(-1) ?? '', / 50% reading app\.db 1\.0 MB of 2\.0 MB$/);
  const log = aroundProgress({ log: (_level, message) => void target.write(message), with: () => log }, progress);
  log.log('info', 'a line');
  assert.deepEqual(target.written.slice(1), ['\r\x1b[2K', 'a line']);
  target.nowMs = 2000;
  tell?.('reading', 1_500_000, 2_000_000);
  tell?.('reading', 2_000_000, 2_000_000);
  assert.equal(target.written.at(-1), '\r\x1b[2K');
});
