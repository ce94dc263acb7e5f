import assert from 'node:assert/strict';
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { identify } from '../../src/base/database-files.ts';
import { DiskShare, type Disks } from '../../src/capture/disk-share.ts';
import { tempFolder } from '../support/temp.ts';

/** Shares of one disk, whose files are of sizes that nobody has to write. */
class Setup {
  readonly folder: string;
  readonly device: bigint;
  readonly disks: Disks = new Map();
  /** Who was asked to give files up, by number. */
  readonly asked: number[] = [];
  #count = 0;

  constructor(t: TestContext) {
    this.folder = tempFolder(t);
    this.device = identify(this.folder)?.device ?? 0n;
  }

  share(device = this.device, folder = this.folder): DiskShare {
    const number = ++this.#count;
    const share = new DiskShare(this.disks, folder, () => void this.asked.push(number));
    share.join(device);
    return share;
  }

  /** So many times what is free, which others change a little meanwhile. */
  times(factor: number): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize * factor;
  }
}

describe('the share of a disk', () => {
  test('is used up at three quarters, and given back at seven eighths', (t) => {
    const setup = new Setup(t);
    const share = setup.share();
    const seen = [0.9, 1.1, 2.9, 3.1, 6.9, 7.1].map((factor) => {
      share.hold(setup.times(factor));
      setup.asked.length = 0;
      share.relieve();
      return [share.mayResume, share.isUsedUp(), setup.asked.length > 0];
    });
    assert.deepEqual(seen, [
      [true, false, false],
      [false, false, false],
      [false, false, false],
      [false, true, false],
      [false, true, false],
      [false, true, true],
    ]);
    share.hold(setup.times(2.9));
    assert.equal(share.isUsedUp(setup.times(0.2)), true, 'with a file that is being made');
  });

  test('is one for all databases on it: who has most is asked first', (t) => {
    const setup = new Setup(t);
    const [first, second, third] = [setup.share(), setup.share(), setup.share()];
    first.hold(setup.times(2));
    second.hold(setup.times(4));
    third.hold(setup.times(1.5));
    assert.ok(first.isUsedUp() && third.isUsedUp());
    third.relieve();
    assert.deepEqual(setup.asked, [2]);
    second.hold(0);
    assert.ok(first.isUsedUp());
    third.leave();
    third.hold(setup.times(100));
    assert.ok(!first.isUsedUp());
    third.join(setup.device);
    assert.ok(first.isUsedUp());
  });

  test('is not used up for those who hold little of it', (t) => {
    const setup = new Setup(t);
    const [much, little] = [setup.share(), setup.share()];
    much.hold(setup.times(5));
    little.hold(1000);
    assert.deepEqual([much.isUsedUp(), little.isUsedUp(), little.mayResume], [true, false, false]);
    little.hold(0);
    assert.ok(little.mayResume);
  });

  test('does not count where the database is on another disk, or nobody holds anything', (t) => {
    const setup = new Setup(t);
    const elsewhere = setup.share(setup.device + 1n);
    elsewhere.hold(setup.times(100));
    elsewhere.relieve(true);
    const idle = setup.share();
    idle.relieve(true);
    assert.ok(!elsewhere.isUsedUp(setup.times(100)) && elsewhere.mayResume && !idle.isUsedUp() && idle.mayResume);
    assert.deepEqual(setup.asked, []);
  });

  test('a quota is not seen in the disk: whoever met it is asked', (t) => {
    const setup = new Setup(t);
    const share = setup.share();
    share.hold(1);
    setup.share().hold(2);
    share.relieve();
    assert.deepEqual(setup.asked, []);
    share.relieve(true);
    assert.deepEqual(setup.asked, [1]);
  });

  test('a folder that somebody removed holds nothing', (t) => {
    const setup = new Setup(t);
    const share = setup.share();
    const gone = setup.share(setup.device, join(setup.folder, 'gone'));
    gone.hold(1e15);
    rmSync(setup.folder, { recursive: true });
    share.hold(1e15);
    share.relieve();
    assert.ok(!share.isUsedUp() && !gone.isUsedUp());
    assert.deepEqual(setup.asked, []);
  });
});
