import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const NPM_TIMEOUT_MS = 4 * 60_000;

/** Of what npm and the test runner set, only how to reach the registry. */
const OURS =
  /^(npm_(?!config_(registry|cache|userconfig|cafile|.*proxy)$)|NODE_(?!EXTRA_CA_CERTS$)|RIVULET_|INIT_CWD$)/i;

/** The environment of a user: nothing of an npm that may run this test, and the Node that runs it first on PATH. */
function userEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !OURS.test(name));
  const PATH = `${join(CHECKOUT, 'node_modules/.bin')}:${process.env.PATH}`;
  return { ...Object.fromEntries(kept), PATH, RIVULET_NODE: process.execPath };
}

function run(cwd: string, program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    env: userEnvironment(),
    encoding: 'utf8',
    timeout: NPM_TIMEOUT_MS,
  });
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${error ?? ''}\n${stdout}${stderr}`);
  return stdout;
}

describe('the npm package', () => {
  let folder = '';
  let tarball = '';
  /** An empty project with the package installed in it. */
  let project = '';

  const rivulet = (...args: readonly string[]): string => run(project, 'node_modules/.bin/rivulet', ...args);

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'rivulet-package-'));
    project = join(folder, 'project');
    mkdirSync(project);
    run(CHECKOUT, 'npm', 'pack', '--pack-destination', folder);
    tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
    writeFileSync(join(project, 'package.json'), '{"private":true,"type":"module"}');
    run(project, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, tarball));
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  test('holds compiled files with their declarations and the kernels, and nothing that users do not need', () => {
    const files = run(folder, 'tar', '-tzf', tarball).trim().split('\n');
    for (const name of ['bin/rivulet', 'dist/index.js', 'dist/index.d.ts', 'dist/kernel.wasm', 'LICENSE']) {
      assert.ok(files.includes(`package/${name}`), name);
    }
    const places =
      /^package\/(bin\/rivulet|dist\/.+\.(js|d\.ts|wasm)|docs\/.+\.(md|schema\.json)|examples\/.+|[A-Z]+(\.md)?|package\.json)$/;
    assert.deepEqual(
      files.filter((name) => !places.test(name)),
      [],
    );
    assert.deepEqual(
      files.filter((name) => /\btests?\b|assembly|tsbuildinfo/.test(name)),
      [],
    );
  });

  test('brings no native add-on and no install script', () => {
    const found = run(project, 'find', 'node_modules', '-name', '*.node', '-o', '-name', 'binding.gyp');
    assert.equal(found, '');
    const lock = run(project, 'cat', 'node_modules/.package-lock.json');
    assert.doesNotMatch(lock, /hasInstallScript/);
  });

  test('runs from where npm links it', () => {
    assert.match(rivulet('version'), /^\d+\.\d+\.\d+/);
    assert.match(run(folder, 'project/node_modules/.bin/rivulet', 'help'), /replicate/);
  });

  test('can be imported, and its declarations hold without the sources', () => {
    writeFileSync(join(project, 'use.ts'), "import * as rivulet from 'rivulet';\nconsole.log(Object.keys(rivulet));\n");
    const types = ['--typeRoots', join(CHECKOUT, 'node_modules/@types'), '--types', 'node'];
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', ...types, 'use.ts'];
    run(project, process.execPath, join(CHECKOUT, 'node_modules/typescript/bin/tsc'), ...options);
    assert.match(run(project, process.execPath, 'use.ts'), /\w/);
  });

  test('does the main job: a database is replicated and comes back', () => {
    const source = join(project, 'app.db');
    const database = new DatabaseSync(source);
    database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)');
    database.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i, 'row ' || i FROM n",
    );
    const sum = (db: DatabaseSync): unknown => db.prepare('SELECT count(*), sum(id), max(v) FROM t').get();
    const atFirst = sum(database);
    const replica = `file://${join(project, 'replica')}`;
    rivulet('replicate', '-once', source, replica);
    database.exec("INSERT INTO t (v) VALUES ('one more')");
    rivulet('replicate', '-once', source, replica);
    const grown = sum(database);
    assert.notDeepEqual(grown, atFirst);
    database.close();
    rivulet('restore', '-o', join(project, 'copy.db'), replica);
    const copy = new DatabaseSync(join(project, 'copy.db'), { readOnly: true });
    assert.deepEqual(sum(copy), grown);
    copy.close();
  });
});
