import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { FileStore } from '../../src/store/file/file-store.ts';
import { create } from '../../src/store/file/staged-file.ts';
import { isStoreError, readObject, type StoreError, type StoreErrorKind } from '../../src/store/store.ts';
import { all, bytesOf, conformance, digestOf, keysOf, patternOf, textOf, withFile } from './conformance.ts';

conformance('the file store', async () => {
  const folder = await fs.mkdtemp(join(tmpdir(), 'rivulet-file-'));
  return {
    store: new FileStore({ root: join(folder, 'not', 'there', 'yet') }),
    supports: { ifAbsent: true, timestamps: true },
    cleanup: () => fs.rm(folder, { recursive: true, force: true }),
  };
});

test('the root is made by the first put, and by nothing else', async () => {
  await inFolder(async (folder) => {
    const root = join(folder, 'a', 'root');
    const store = new FileStore({ root });
    assert.equal(store.url, pathToFileURL(root).href);
    assert.deepEqual(await keysOf(store, ''), []);
    await assert.rejects(store.open('k'), ofKind('not-found'));
    assert.deepEqual(await store.delete(['k']), [{ key: 'k', error: undefined }]);
    assert.deepEqual(await fs.readdir(folder), []);
    await store.put('k', { bytes: bytesOf('x') });
    assert.deepEqual(await fs.readdir(root), ['k']);
  });
});

test('files are 0600 and folders 0700, or what the options say', async () => {
  await inFolder(async (folder) => {
    const modes = async (path: string): Promise<string> => ((await fs.stat(path)).mode & 0o777).toString(8);
    await withFile(bytesOf('body'), async (file, sizeBytes) => {
      await fs.chmod(file, 0o444);
      const plain = new FileStore({ root: join(folder, 'plain') });
      await plain.put('a/b', { bytes: bytesOf('x') });
      await plain.put('a/c', { file, sizeBytes });
      const open = new FileStore({ root: join(folder, 'open'), fileMode: 0o640, folderMode: 0o750 });
      await open.put('a/b', { bytes: bytesOf('x') });
      await open.put('a/c', { file, sizeBytes });
      assert.equal(await modes(file), '444', 'the rights of the source are its own');
    });
    for (const [root, fileMode, folderMode] of [
      ['plain', '600', '700'],
      ['open', '640', '750'],
    ] as const) {
      assert.equal(await modes(join(folder, root)), folderMode);
      assert.equal(await modes(join(folder, root, 'a')), folderMode);
      assert.equal(await modes(join(folder, root, 'a/b')), fileMode);
      assert.equal(await modes(join(folder, root, 'a/c')), fileMode);
    }
  });
});

test('a file on the same disk is linked, and a later put of its key does not touch it', async () => {
  await inFolder(async (folder) => {
    const store = new FileStore({ root: join(folder, 'root') });
    const file = join(folder, 'spooled');
    await fs.writeFile(file, 'spooled bytes', { mode: 0o600 });
    await store.put('a/k', { file, sizeBytes: 13 });
    assert.equal((await fs.stat(join(folder, 'root/a/k'))).ino, (await fs.stat(file)).ino);
    await store.put('a/k', { file, sizeBytes: 13 });
    assert.deepEqual(await fs.readdir(join(folder, 'root/a')), ['k'], 'a link to itself leaves no staged name behind');
    await store.put('a/k', { bytes: bytesOf('replaced') });
    assert.equal(await fs.readFile(file, 'utf8'), 'spooled bytes');
  });
});

test('a file that is as the object has to be is linked as it is, and over nothing', async () => {
  await inFolder(async (folder) => {
    const store = new FileStore({ root: join(folder, 'root') });
    const file = join(folder, 'spooled');
    await fs.writeFile(file, 'spooled bytes', { mode: 0o600 });
    const timestampMs = 1_700_000_000_123;
    await fs.utimes(file, timestampMs / 1000 + 0.0004, timestampMs / 1000 + 0.0004);
    const { ino, mtimeNs } = await fs.stat(file, { bigint: true });
    const options = { timestampMs, ifAbsent: true };
    const info = await store.put('a/k', { file, sizeBytes: 13 }, options);
    assert.deepEqual(info, { key: 'a/k', sizeBytes: 13, modifiedMs: timestampMs });
    const stored = await fs.stat(join(folder, 'root/a/k'), { bigint: true });
    assert.deepEqual([stored.ino, stored.mtimeNs], [ino, mtimeNs], 'nothing was set that was right');
    await assert.rejects(store.put('a/k', { file, sizeBytes: 13 }, options), { kind: 'exists' });
    assert.deepEqual(await fs.readdir(join(folder, 'root/a')), ['k']);

    await fs.chmod(file, 0o644);
    await store.put('a/k2', { file, sizeBytes: 13 }, options);
    assert.notEqual((await fs.stat(join(folder, 'root/a/k2'), { bigint: true })).ino, ino, 'others may read this one');
  });
});

test('what an earlier try left is made durable before it is said to be there', async (t) => {
  await inFolder(async (folder) => {
    const root = join(folder, 'root');
    const store = new FileStore({ root });
    const file = join(folder, 'spooled');
    await fs.writeFile(file, 'spooled bytes', { mode: 0o600 });
    const timestampMs = 1_700_000_000_123;
    await fs.utimes(file, timestampMs / 1000 + 0.0004, timestampMs / 1000 + 0.0004);
    await store.put('a/k1', { bytes: bytesOf('makes the folders') });

    const handle = await fs.open(file, 'r');
    const prototype = Object.getPrototypeOf(handle) as fs.FileHandle;
    await handle.close();
    const synced: string[] = [];
    const sync = prototype.sync;
    let failure: Error | undefined = Object.assign(new Error('the disk fails'), { code: 'EIO' });
    t.mock.method(prototype, 'sync', async function (this: fs.FileHandle) {
      const path = await fs.readlink(`/proc/self/fd/${this.fd}`);
      if (failure && path === join(root, 'a')) throw failure;
      synced.push(path);
      return sync.call(this);
    });
    const put = (): Promise<unknown> => store.put('a/k', { file, sizeBytes: 13 }, { timestampMs, ifAbsent: true });
    await assert.rejects(put(), { kind: 'transient' });
    await assert.rejects(put(), { kind: 'transient' }, 'it is there, and may not stay');
    failure = undefined;
    await assert.rejects(put(), { kind: 'exists' });
    assert.deepEqual(synced.slice(-2), [join(root, 'a/k'), join(root, 'a')]);
  });
});

test('a file on another disk is copied', async (t) => {
  await withTmpfs(t, 8, async (disk) => {
    await withFile(patternOf(9, 1 << 20), async (file, sizeBytes) => {
      const store = new FileStore({ root: join(disk, 'root') });
      const timestampMs = 1_700_000_000_123;
      const info = await store.put('k', { file, sizeBytes }, { timestampMs, ifAbsent: true });
      assert.deepEqual(info, { key: 'k', sizeBytes, modifiedMs: timestampMs });
      assert.equal(digestOf(await readObject(store, 'k', sizeBytes)), digestOf(patternOf(9, 1 << 20)));
    });
  });
});

test('a time is never cut to the millisecond before it, however it is read', async () => {
  await inFolder(async (root) => {
    const store = new FileStore({ root });
    for (let timestampMs = 1_700_000_000_000; timestampMs < 1_700_000_000_100; timestampMs++) {
      await store.put('k', { bytes: bytesOf('x') }, { timestampMs });
      const { mtimeNs } = await fs.stat(join(root, 'k'), { bigint: true });
      assert.equal(mtimeNs / 1_000_000n, BigInt(timestampMs));
    }
  });
});

test('files that are being written are not objects', async () => {
  await inFolder(async (root) => {
    const store = new FileStore({ root });
    await store.put('a/k', { bytes: bytesOf('x') });
    await fs.writeFile(join(root, 'a', 'k.123-0123abcd.tmp'), 'half');
    await fs.writeFile(join(root, 'a', '0000000000000001-0000000000000001.ltx.tmp'), 'half, by Litestream');
    assert.deepEqual(await keysOf(store, ''), ['a/k']);
    await assert.rejects(store.put('a/x.tmp', { bytes: bytesOf('x') }), ofKind('permanent'));
    await assert.rejects(store.open('a/k.123-0123abcd.tmp'), ofKind('permanent'));
  });
});

test('the first put in a folder removes what writers that died left there, and nothing else', async () => {
  await inFolder(async (root) => {
    const names = ['old.ltx.123-0123abcd.tmp', 'new.ltx.123-0123abcd.tmp', 'theirs.ltx.tmp', 'old-object'];
    for (const name of names) await fs.writeFile(join(root, name), 'x');
    // ctime cannot be set back, so the clock is set forward for all but the new file.
    const realNow = Date.now;
    try {
      Date.now = () => realNow() + 30 * 60_000;
      await new FileStore({ root }).put('k', { bytes: bytesOf('x') });
      assert.deepEqual((await fs.readdir(root)).sort(), [...names, 'k'].sort(), 'nothing is old yet');
      Date.now = () => realNow() + 61 * 60_000;
      await new FileStore({ root }).put('k', { bytes: bytesOf('x') });
    } finally {
      Date.now = realNow;
    }
    assert.deepEqual((await fs.readdir(root)).sort(), ['k', 'old-object', 'theirs.ltx.tmp']);
  });
});

test('a failed put leaves no staged file', async () => {
  await inFolder(async (root) => {
    const store = new FileStore({ root });
    await store.put('a/k', { bytes: bytesOf('x') });
    await fs.mkdir(join(root, 'a/folder'));
    await assert.rejects(store.put('a/k', { bytes: bytesOf('y') }, { ifAbsent: true }), ofKind('exists'));
    for (const ifAbsent of [false, true]) {
      const put = store.put('a/folder', { bytes: bytesOf('y') }, { ifAbsent });
      await assert.rejects(put, (error) => ofKind('permanent')(error) && /folder of this name/.test(String(error)));
    }
    await assert.rejects(store.put('a/k/below', { bytes: bytesOf('y') }), ofKind('permanent'));
    await assert.rejects(store.put(`a/${'n'.repeat(300)}`, { bytes: bytesOf('y') }), ofKind('permanent'));
    assert.deepEqual((await fs.readdir(join(root, 'a'))).sort(), ['folder', 'k']);
  });
});

test('a folder that vanishes while the store is in use is not made again: it could be unmounted', async () => {
  await inFolder(async (folder) => {
    const root = join(folder, 'root');
    const store = new FileStore({ root });
    await store.put('a/b/k', { bytes: bytesOf('x') });
    await fs.rename(root, `${root}-away`);
    const put = () => store.put('a/b/l', { bytes: bytesOf('y') });
    await assert.rejects(put, { code: 'STORE_PERMANENT', message: /has vanished/ });
    await assert.rejects(put, { code: 'STORE_PERMANENT', message: /has vanished/ });
    await fs.rename(`${root}-away`, root);
    await put();
    assert.equal(await textOf(store, 'a/b/k'), 'x');
    assert.equal(await textOf(store, 'a/b/l'), 'y');
  });
});

test('a reader goes on reading the object that it opened after it was replaced and deleted', async () => {
  await inFolder(async (root) => {
    const store = new FileStore({ root });
    await store.put('k', { bytes: bytesOf('old') });
    const reader = await store.open('k');
    await store.put('k', { bytes: bytesOf('new') });
    await store.delete(['k']);
    const target = new Uint8Array(10);
    assert.equal(await reader.read(target), 3);
    assert.equal(Buffer.from(target.subarray(0, 3)).toString(), 'old');
    await reader.close();
  });
});

test('special files are not objects, and opening one is an error, not a wait', async () => {
  await inFolder(async (root) => {
    const store = new FileStore({ root });
    await store.put('k', { bytes: bytesOf('x') });
    execFileSync('mkfifo', [join(root, 'fifo')]);
    const server = createServer().listen(join(root, 'socket'));
    await assert.rejects(store.open('fifo'), ofKind('permanent'));
    await assert.rejects(store.open('socket'), ofKind('permanent'));
    assert.deepEqual(await keysOf(store, ''), ['k']);
    await new Promise((resolve) => server.close(resolve));
  });
});

test('links to files and folders are followed, in the order of the keys', async () => {
  await inFolder(async (folder) => {
    const store = new FileStore({ root: join(folder, 'root') });
    await fs.mkdir(join(folder, 'elsewhere'));
    await fs.writeFile(join(folder, 'elsewhere/k'), 'x');
    await store.put('link-', { bytes: bytesOf('x') });
    await store.put('link0', { bytes: bytesOf('x') });
    await fs.symlink(join(folder, 'elsewhere'), join(folder, 'root/link'));
    await fs.symlink(join(folder, 'elsewhere/k'), join(folder, 'root/k'));
    assert.deepEqual(await keysOf(store, ''), ['k', 'link-', 'link/k', 'link0']);
    assert.equal(await textOf(store, 'link/k'), 'x');
  });
});

test('a link into nothing is an error and never an empty listing, wherever it is', async () => {
  await inFolder(async (folder) => {
    await fs.mkdir(join(folder, 'root'));
    for (const [link, root, prefix] of [
      ['gone', 'gone', ''],
      ['up', 'up/below', ''],
      ['root/ltx', 'root', 'ltx/0/'],
    ] as const) {
      await fs.symlink(join(folder, 'not-mounted'), join(folder, link));
      const store = new FileStore({ root: join(folder, root) });
      for (const each of ['', prefix]) {
        await assert.rejects(
          keysOf(store, each),
          (error) => ofKind('permanent')(error) && /link to something/.test(String(error)),
        );
      }
      await assert.rejects(store.open(`${prefix}k`), ofKind('permanent'));
      await assert.rejects(store.put(`${prefix}k`, { bytes: bytesOf('x') }), ofKind('permanent'));
      const [result] = await store.delete([`${prefix}k`]);
      assert.ok(isStoreError(result?.error, 'permanent'));
    }
  });
});

test('a root that is a file, or below one, is an error for every verb', async () => {
  await inFolder(async (folder) => {
    await fs.writeFile(join(folder, 'file'), 'precious');
    for (const root of [join(folder, 'file'), join(folder, 'file/below')]) {
      const store = new FileStore({ root });
      const isExplained = (error: unknown): boolean =>
        isStoreError(error, 'permanent') && /is not a folder/.test(error.message);
      await assert.rejects(keysOf(store, ''), isExplained);
      await assert.rejects(keysOf(store, 'ltx/0/'), isExplained);
      await assert.rejects(store.open('k'), isExplained);
      await assert.rejects(store.put('k', { bytes: bytesOf('x') }), isExplained);
      assert.ok(isExplained((await store.delete(['k']))[0]?.error));
    }
    assert.equal(await fs.readFile(join(folder, 'file'), 'utf8'), 'precious');
  });
});

test('what may not be read or written is denied, and never looks empty', async () => {
  await inFolder(async (folder) => {
    await fs.chmod(folder, 0o755);
    const root = join(folder, 'root');
    await new FileStore({ root }).put('ltx/0/k', { bytes: bytesOf('x') });
    await fs.chmod(root, 0o755);
    await fs.chmod(join(root, 'ltx'), 0);
    await asOrdinaryUser(async () => {
      const store = new FileStore({ root });
      for (const prefix of ['', 'ltx/', 'ltx/0/', 'ltx/0/k']) {
        const error = await failureOf(keysOf(store, prefix));
        assert.equal(error.kind, 'denied');
        assert.ok(
          error.message.includes(join(root, 'ltx')) && error.message.includes('permission denied'),
          error.message,
        );
        assert.match(error.next ?? '', /read access/);
      }
      assert.equal((await failureOf(store.open('ltx/0/k'))).kind, 'denied');
      const put = await failureOf(store.put('ltx/0/k', { bytes: bytesOf('y') }));
      assert.equal(put.kind, 'denied');
      assert.ok(put.message.includes(join(root, 'ltx/0/k')), put.message);
      assert.match(put.kept ?? '', /unchanged/);
      assert.match(put.next ?? '', /write access/);
      assert.equal((await store.delete(['ltx/0/k']))[0]?.error?.kind, 'denied');
    }).finally(() => fs.chmod(join(root, 'ltx'), 0o755));
    await fs.chmod(join(root, 'ltx/0'), 0o555);
    await fs.chmod(root, 0o555);
    await asOrdinaryUser(async () => {
      const store = new FileStore({ root });
      assert.equal((await failureOf(store.put('ltx/0/new', { bytes: bytesOf('y') }))).kind, 'denied');
      assert.equal((await failureOf(store.put('top', { bytes: bytesOf('y') }))).kind, 'denied');
      assert.equal((await store.delete(['ltx/0/k']))[0]?.error?.kind, 'denied');
      assert.deepEqual(await keysOf(store, ''), ['ltx/0/k']);
    }).finally(async () => {
      await fs.chmod(root, 0o755);
      await fs.chmod(join(root, 'ltx/0'), 0o755);
    });
  });
});

test('a full disk is told as such, what was stored before is whole, and a smaller put works', async (t) => {
  await withTmpfs(t, 4, async (disk) => {
    const store = new FileStore({ root: join(disk, 'root') });
    const old = patternOf(1, 1 << 20);
    await store.put('k', { bytes: old });
    const full = await failureOf(store.put('k', { bytes: patternOf(2, 6 << 20) }));
    assert.equal(full.kind, 'full');
    assert.match(full.message, /no space is left/);
    assert.match(full.next ?? '', /free some space/);
    await withFile(patternOf(2, 6 << 20), async (file, sizeBytes) => {
      assert.equal((await failureOf(store.put('k', { file, sizeBytes }))).kind, 'full');
    });
    assert.equal(digestOf(await readObject(store, 'k', 1 << 20)), digestOf(old));
    assert.deepEqual(await fs.readdir(join(disk, 'root')), ['k'], 'no staged file is left to fill the disk');
    await store.put('small', { bytes: patternOf(3, 1 << 20) });
  });
});

test('a disk mounted read-only is denied', async (t) => {
  await withTmpfs(t, 4, async (disk) => {
    const store = new FileStore({ root: join(disk, 'root') });
    await store.put('k', { bytes: bytesOf('x') });
    execFileSync('mount', ['-o', 'remount,ro', disk]);
    for (const attempt of [store, new FileStore({ root: join(disk, 'root') })]) {
      const error = await failureOf(attempt.put('k', { bytes: bytesOf('y') }));
      assert.equal(error.kind, 'denied');
      assert.match(error.next ?? '', /for writing/);
    }
    assert.equal((await store.delete(['k']))[0]?.error?.kind, 'denied');
    assert.equal(await textOf(store, 'k'), 'x');
  });
});

test('without hard links one creator still wins, and no reader sees a part of an object', async () => {
  await inFolder(async (folder) => {
    const noLinks = async (): Promise<never> => {
      throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM' });
    };
    const target = join(folder, 'target');
    const staged = Array.from({ length: 20 }, (_, i) => join(folder, `${i}.tmp`));
    for (const path of staged) await fs.writeFile(path, `whole ${path}`);
    const outcomes = await Promise.allSettled(staged.map((path) => create(path, target, noLinks)));
    const winners = staged.filter((_, i) => outcomes[i]?.status === 'fulfilled');
    assert.equal(winners.length, 1);
    assert.equal(await fs.readFile(target, 'utf8'), `whole ${winners[0]}`);
    const before = await fs.readdir(folder);
    await assert.rejects(create(join(folder, 'no-such.tmp'), join(folder, 'fresh'), noLinks), { code: 'ENOENT' });
    assert.deepEqual(await fs.readdir(folder), before, 'a claim that came to nothing is taken back');
  });
});

test('a process killed in the middle of its puts leaves no torn object', async () => {
  await inFolder(async (folder) => {
    const root = join(folder, 'root');
    const sizes = [1, 70_000, 3_000_000];
    const known = new Set(
      sizes.flatMap((size) => Array.from({ length: 4 }, (_, seed) => digestOf(patternOf(seed, size)))),
    );
    for (let round = 0; round < 12; round++) {
      await runWriterFor(40 + round * 13, root, sizes);
      const store = new FileStore({ root });
      const seen = await all(store, '');
      assert.ok(seen.length > 0, 'the writer stored something before it was killed');
      for (const { key, sizeBytes } of seen) {
        const bytes = await readObject(store, key, 4 << 20);
        assert.equal(bytes.length, sizeBytes);
        assert.ok(known.has(digestOf(bytes)), `round ${round}: ${key} is torn`);
      }
    }
  });
});

/** Runs a process that stores objects without end, and kills it `ms` after its first. */
async function runWriterFor(ms: number, root: string, sizes: readonly number[]): Promise<void> {
  const source = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const program = `
    import { FileStore } from ${source('../../src/store/file/file-store.ts')};
    import { patternOf } from ${source('./conformance.ts')};
    const store = new FileStore({ root: ${JSON.stringify(root)} });
    const sizes = ${JSON.stringify(sizes)};
    const bodies = sizes.flatMap((size) => [0, 1, 2, 3].map((seed) => patternOf(seed, size)));
    for (let i = 0; ; i++) {
      await Promise.all([0, 1, 2].map((n) => store.put('hot/' + n, { bytes: bodies[(i * 5 + n) % bodies.length] })));
      await store.put('new/' + process.pid + '-' + i, { bytes: bodies[i % bodies.length] }, { ifAbsent: true });
      if (i === 0) console.log('first');
      if (i > 5) await store.delete(['new/' + process.pid + '-' + (i - 5)]);
    }`;
  const writer = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = new Promise<string | null>((resolve) => writer.on('exit', (_, signal) => resolve(signal)));
  await Promise.race([new Promise((resolve) => writer.stdout.once('data', resolve)), exit]);
  await delay(ms);
  writer.kill('SIGKILL');
  assert.equal(await exit, 'SIGKILL');
}

function ofKind(kind: StoreErrorKind): (error: unknown) => boolean {
  return (error) => isStoreError(error, kind);
}

/** The store error that a call fails with. */
async function failureOf(call: Promise<unknown>): Promise<StoreError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isStoreError(error, 'not-found', 'exists', 'denied', 'full', 'transient', 'permanent'), String(error));
  return error;
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await fs.mkdtemp(join(tmpdir(), 'rivulet-file-'));
  try {
    await work(folder);
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** Access rights do not bind root: where the tests run as root, `work` runs as nobody. */
async function asOrdinaryUser(work: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await work();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

/** A small disk of its own. Skips the test where mounting is not permitted. */
async function withTmpfs(t: TestContext, sizeMib: number, work: (disk: string) => Promise<void>): Promise<void> {
  await inFolder(async (disk) => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', disk], { stdio: 'pipe' });
    } catch (error) {
      console.error(`SKIPPED, mounting is not permitted here: ${t.name}`);
      t.skip(`cannot mount a tmpfs: ${String(error).trim()}`);
      return;
    }
    try {
      await work(disk);
    } finally {
      execFileSync('umount', [disk]);
    }
  });
}
