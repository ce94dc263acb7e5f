import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sleepers } from '../../src/capture/sleepers.ts';

test('whoever sleeps is woken about once a minute, however many there are', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= 500) {
      now += 500;
      t.mock.timers.tick(500);
    }
  };
  const sleepers = new Sleepers();
  const woken = new Map<number, number>();
  // Whoever was woken looks, and sleeps again.
  const sleep = (index: number): (() => void) => {
    const undo = sleepers.add(() => {
      woken.set(index, (woken.get(index) ?? 0) + 1);
      undo();
      sleep(index);
    });
    return undo;
  };
  const first = sleep(0);
  pass(30_000);
  for (let index = 1; index < 300; index++) sleep(index);
  first();
  pass(59_000);
  assert.equal(woken.size, 0, 'whoever went before is not woken, and nobody too early');
  pass(35_000);
  assert.equal(woken.size, 299);
  pass(600_000);
  for (const [index, times] of woken) assert.ok(times >= 7 && times <= 12, `${index}: ${times} times in 11 minutes`);
});
