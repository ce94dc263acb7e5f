import assert from 'node:assert/strict';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { RivuletError } from '../../src/base/errors.ts';
import { expandPath, isReplicaUrl } from '../../src/config/paths.ts';
import { fileLocation, parseReplicaUrl, REPLICA_TYPES } from '../../src/config/replica-url.ts';

const folderOf = (url: string): string => {
  const location = parseReplicaUrl(url);
  assert.ok(location.type === 'file');
  return location.path;
};

test('a file URL names a folder, percent-decoded', () => {
  assert.deepEqual(parseReplicaUrl('file:///backups/app'), {
    type: 'file',
    path: '/backups/app',
    url: 'file:///backups/app',
  });
  assert.equal(folderOf('file:///a%20b/100%25'), '/a b/100%');
  assert.equal(folderOf('file:///backups/app/'), '/backups/app');
});

test('a file URL may have one slash, or name this machine', () => {
  assert.ok(isReplicaUrl('file:/backups/app'));
  for (const url of ['file:/backups/app', 'file://localhost/backups/app']) {
    assert.equal(parseReplicaUrl(url).url, 'file:///backups/app');
  }
});

test('a path where a URL is expected is a folder', () => {
  assert.equal(parseReplicaUrl('/backups/app').url, 'file:///backups/app');
  assert.equal(folderOf('backups'), resolve('backups'));
  assert.equal(folderOf('~/b'), resolve(homedir(), 'b'));
});

test('any absolute folder survives the way into a URL and back', () => {
  const segment = fc.string({ minLength: 1, maxLength: 8 }).filter((text) => !/[/\0]|^\.\.?$/.test(text));
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
      const path = `/${segments.join('/')}`;
      assert.equal(folderOf(fileLocation(path).url), path);
    }),
  );
});

test('a URL that could mean another folder is refused', () => {
  const cases: [string, RegExp][] = [
    ['file://', /path required/],
    ['', /path required/],
    ['file:///', /root folder/],
    ['/', /root folder/],
    ['file://backups/app', /not an absolute path/],
    ['file:///a//b', /empty part/],
    ['file:////a', /empty part/],
    ['/a//b', /empty part/],
    ['file:///a?x=1', /no parameters/],
    ['file:///a#b', /no parameters/],
    ['file:///a%zz', /percent-encoded/],
    ['file:///a%00b', /not a path/],
  ];
  for (const [url, message] of cases) {
    assert.throws(() => parseReplicaUrl(url), { name: 'RivuletError', code: 'REPLICA_URL_INVALID', message }, url);
  }
});

test('a store that only Litestream has is refused by name', () => {
  for (const type of REPLICA_TYPES.filter((type) => type !== 'file' && type !== 's3')) {
    assert.throws(() => parseReplicaUrl(`${type}://x/y`), { code: 'NOT_BUILT', message: new RegExp(`\`${type}\``) });
  }
});

test('a scheme that nobody knows is refused, and the known ones are listed', () => {
  assert.throws(
    () => parseReplicaUrl('zork://x'),
    (error) =>
      error instanceof RivuletError &&
      error.code === 'REPLICA_TYPE_UNKNOWN' &&
      /file, s3.*gs.*oss/.test(error.next ?? ''),
  );
});

test('paths are expanded as Litestream does', () => {
  assert.equal(expandPath('sqlite:///data/app.db'), '/data/app.db');
  assert.equal(expandPath('sqlite3://app.db'), resolve('app.db'));
  assert.equal(expandPath('~'), homedir());
  assert.equal(expandPath('~/x'), resolve(homedir(), 'x'));
  assert.equal(expandPath('~x'), resolve('~x'));
  assert.equal(expandPath('/a/../b'), '/b');
});

test('a scheme makes a replica URL, except that of a database', () => {
  assert.ok(isReplicaUrl('file:///x'));
  assert.ok(isReplicaUrl('zork://x'));
  for (const path of ['sqlite:///x', 'sqlite3://x', '/x', 'x', 'C:\\x', '://x']) assert.ok(!isReplicaUrl(path), path);
});
