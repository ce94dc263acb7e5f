import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { CommitPace } from '../../src/capture/commit-pace.ts';

const JUST_NOW = (): number => 0;
const LONG_AGO = (): number => 1e9;
function unasked(): number {
  return assert.fail('commits themselves tell');
}

describe('the pace of commits', () => {
  let nowMs: number;
  let commits: number;
  let pace: CommitPace;

  beforeEach((t) => {
    nowMs = 1000;
    commits = 4_294_967_290; // it is 32 bits wide
    pace = new CommitPace();
    assert.ok('mock' in t);
    t.mock.method(performance, 'now', () => nowMs);
    pace.note(commits);
  });

  function pass(ms: number, more: number): void {
    nowMs += ms;
    commits = (commits + more) % 2 ** 32;
    pace.note(commits);
  }

  test('many: they stand still after 10 ms, as the last write tells', () => {
    for (let i = 0; i < 5; i++) pass(50, 20);
    assert.equal(pace.stillMs, 10);
    assert.equal(pace.isStill(unasked), false);
    pass(50, 14);
    assert.equal(pace.isStill(JUST_NOW), false);
    assert.equal(pace.isStill(LONG_AGO), true);
  });

  test('many: they stand still when none came since the last glance', () => {
    for (let i = 0; i < 5; i++) pass(50, 20);
    pass(5, 0);
    assert.equal(pace.isStill(JUST_NOW), false);
    pass(5, 0);
    assert.equal(pace.isStill(JUST_NOW), true);
  });

  test('few: each is followed by a pause, which is none', () => {
    for (let i = 0; i < 10; i++) {
      pass(40, 1);
      assert.equal(pace.isStill(unasked), false);
    }
    assert.equal(pace.stillMs, 80);
    const ago = (ms: number) => () => ms;
    pass(40, 0);
    assert.equal(pace.isStill(ago(79)), false);
    assert.equal(pace.isStill(ago(80)), true);
    pass(40, 0);
    assert.equal(pace.isStill(JUST_NOW), true);
  });

  test('very few, or unknown: 100 ms', () => {
    assert.equal(pace.stillMs, 100);
    for (let i = 0; i < 3; i++) pass(1000, 1);
    assert.equal(pace.stillMs, 100);
    pass(50, 0);
    assert.equal(pace.isStill(JUST_NOW), false);
    pass(50, 0);
    assert.equal(pace.isStill(JUST_NOW), true);
  });

  test('it is quiet after two gaps, but not before 400 ms, and after 1 s at the latest', () => {
    assert.equal(pace.quietMs, 400);
    for (let i = 0; i < 3; i++) pass(50, 20);
    assert.equal(pace.quietMs, 400);
    for (let i = 0; i < 10; i++) pass(300, 1);
    assert.equal(pace.quietMs, 600);
    for (let i = 0; i < 10; i++) pass(60_000, 1);
    assert.equal(pace.quietMs, 1000);
  });

  test('a pause is no new pace', () => {
    for (let i = 0; i < 5; i++) pass(50, 20);
    pass(60_000, 1);
    assert.equal(pace.stillMs, 10);
  });

  test('they slow down', () => {
    for (let i = 0; i < 5; i++) pass(50, 20);
    for (let i = 0; i < 10; i++) pass(40, 1);
    assert.equal(pace.stillMs, 80);
  });

  test('a count that begins anew is made up for', () => {
    for (let i = 0; i < 5; i++) pass(40, 1);
    commits = 0;
    for (let i = 0; i < 40; i++) pass(40, 1);
    assert.equal(pace.stillMs, 80);
  });
});
