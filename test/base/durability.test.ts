import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeFileDurably } from '../../src/base/durable-file.ts';
import { Replica } from '../../src/replica/replica.ts';
import { restoreDatabase } from '../../src/restore/restore.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { CaptureHarness } from '../support/capture.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import { tempFolder } from '../support/temp.ts';

/*
 * What is called durable has been through, in this order: fsync of the file under its staging name, the rename or link that
 * makes it visible, fsync of its folder. No crash can be made in a test that shows a missing one, so the calls are watched.
 */

/** What was done to files and folders, in order: `fsync PATH`, `name FROM TO`. */
function watchCalls(t: TestContext): string[] {
  const calls: string[] = [];
  const paths = new Map<number, string>();
  const { openSync, fsync, fsyncSync, renameSync, linkSync } = fs;
  const { open, rename, link } = fs.promises;
  const undo = (): void => {
    Object.assign(fs, { openSync, fsync, fsyncSync, renameSync, linkSync });
    Object.assign(fs.promises, { open, rename, link });
    syncBuiltinESMExports();
  };
  fs.openSync = (path, ...rest) => {
    const fd = openSync(path, ...rest);
    paths.set(fd, String(path));
    return fd;
  };
  fs.fsyncSync = (fd) => {
    fsyncSync(fd);
    calls.push(`fsync ${paths.get(fd)}`);
  };
  fs.fsync = Object.assign((fd: number, done: fs.NoParamCallback) => {
    fsync(fd, (error) => {
      calls.push(`fsync ${paths.get(fd)}`);
      done(error);
    });
  }, fsync);
  fs.renameSync = (from, to) => {
    renameSync(from, to);
    calls.push(`name ${String(from)} ${String(to)}`);
  };
  fs.linkSync = (from, to) => {
    linkSync(from, to);
    calls.push(`name ${String(from)} ${String(to)}`);
  };
  fs.promises.open = async (path, ...rest) => {
    const handle = await open(path, ...rest);
    const { sync } = handle;
    handle.sync = async () => {
      await sync.call(handle);
      calls.push(`fsync ${String(path)}`);
    };
    return handle;
  };
  fs.promises.rename = async (from, to) => {
    await rename(from, to);
    calls.push(`name ${String(from)} ${String(to)}`);
  };
  fs.promises.link = async (from, to) => {
    await link(from, to);
    calls.push(`name ${String(from)} ${String(to)}`);
  };
  syncBuiltinESMExports();
  t.after(undo);
  return calls;
}

/** Fails unless `path` got its name after an fsync of what it was called before, and its folder an fsync after that. */
function assertDurable(calls: readonly string[], path: string): void {
  const named = calls.findIndex((call) => call.startsWith('name ') && call.endsWith(` ${path}`));
  assert.ok(named >= 0, `${path} got its name:\n${calls.join('\n')}`);
  const staged = calls[named]?.split(' ')[1];
  const synced = calls.indexOf(`fsync ${staged}`);
  assert.ok(synced >= 0 && synced < named, `${basename(path)} was synced before:\n${calls.join('\n')}`);
  const folder = calls.indexOf(`fsync ${dirname(path)}`, named);
  assert.ok(folder > named, `its folder was synced after:\n${calls.join('\n')}`);
}

test('a file written durably is, in its folder', (t) => {
  const path = join(tempFolder(t), 'state');
  const calls = watchCalls(t);
  writeFileDurably(path, [Buffer.from('x')]);
  assertDurable(calls, path);
});

test('a put into a file store is durable, and so is every folder on the way to it', async (t) => {
  const folder = tempFolder(t);
  const store = new FileStore({ root: join(folder, 'a/b') });
  const calls = watchCalls(t);
  await store.put('c/d/one', { bytes: Buffer.from('x') });
  await store.put('c/d/two', { bytes: Buffer.from('y') }, { ifAbsent: true });
  assertDurable(calls, join(folder, 'a/b/c/d/one'));
  assertDurable(calls, join(folder, 'a/b/c/d/two'));
  for (const made of ['a', 'a/b', 'a/b/c', 'a/b/c/d']) {
    assert.ok(calls.includes(`fsync ${dirname(join(folder, made))}`), `${made} would survive`);
  }
});

test('a captured file is durable before it is recorded, and the record before the file is told of', async (t) => {
  const path = join(tempFolder(t), 'app.db');
  const calls = watchCalls(t);
  const harness = new CaptureHarness(t, path);
  const push = harness.files.push.bind(harness.files);
  harness.files.push = (...files) => {
    for (const file of files) calls.push(`told ${file.path}`);
    return push(...files);
  };
  const app = await sqliteProcess(t, path);
  await app.run('PRAGMA journal_mode=wal; CREATE TABLE t(v)');
  await harness.until(() => harness.files.length > 0, 'it is captured');
  await harness.stop();
  const spooled = harness.files[0]?.path ?? '';
  const state = join(dirname(dirname(spooled)), 'state');
  assertDurable(calls, spooled);
  assertDurable(calls, state);
  const at = (end: string): number => calls.findIndex((call) => call.endsWith(end));
  assert.ok(calls.indexOf(`fsync ${dirname(spooled)}`) < at(` ${state}`), calls.join('\n'));
  assert.ok(calls.indexOf(`fsync ${dirname(state)}`, at(` ${state}`)) < at(`told ${spooled}`), calls.join('\n'));
});

test('a restored database is durable, also where it takes the place of another', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'app.db');
  const app = await sqliteProcess(t, path);
  await app.run('PRAGMA journal_mode=wal; CREATE TABLE t(v)');
  const harness = new CaptureHarness(t, path);
  await harness.capture.sync();
  const store = new FileStore({ root: join(folder, 'replica') });
  const [file] = harness.files;
  assert.ok(file);
  await store.put('ltx/0/0000000000000001-0000000000000001.ltx', { file: file.path, sizeBytes: file.sizeBytes });
  await harness.stop();
  const outputPath = join(folder, 'new/out.db');
  const calls = watchCalls(t);
  await restoreDatabase(new Replica(store), { outputPath });
  assertDurable(calls, outputPath);
  assert.ok(calls.includes(`fsync ${folder}`), 'the folder that was made for it would survive');
  calls.length = 0;
  const { movedAside } = await restoreDatabase(new Replica(store), { outputPath, force: true });
  assertDurable(calls, outputPath);
  const aside = calls.findIndex((call) => call.endsWith(` ${movedAside[0]}`));
  const swapped = calls.findIndex((call) => call.endsWith(` ${outputPath}`));
  const between = calls.indexOf(`fsync ${dirname(outputPath)}`, aside);
  assert.ok(aside >= 0 && aside < between && between < swapped, `the old one is safe before:\n${calls.join('\n')}`);
});
