import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { importsOf, membersOf, tokenize } from '../../scripts/module-imports.ts';
import { tempFolder } from '../support/temp.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/check-imports.ts', import.meta.url));
const MANIFEST = JSON.stringify({ name: 'house', dependencies: { yaml: '1' }, devDependencies: { 'fast-check': '1' } });

/** Runs the check over a tree of files; the problems, without the folder's name, and the exit status. */
function check(t: TestContext, files: Readonly<Record<string, string>>): { status: number | null; problems: string[] } {
  const root = tempFolder(t);
  for (const [name, text] of Object.entries({ 'package.json': MANIFEST, ...files })) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, '--root', root], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.equal(stdout, '');
  return { status, problems: stderr.split('\n').filter((line) => line !== '' && !line.startsWith('check-imports:')) };
}

function assertProblem(t: TestContext, files: Readonly<Record<string, string>>, ...expected: readonly RegExp[]): void {
  const { status, problems } = check(t, files);
  assert.equal(status, 1);
  assert.equal(problems.length, expected.length, problems.join('\n'));
  expected.forEach((pattern, index) => {
    assert.match(problems[index] ?? '', pattern);
  });
}

function assertFine(t: TestContext, files: Readonly<Record<string, string>>): void {
  assert.deepEqual(check(t, files), { status: 0, problems: [] });
}

const EMPTY = 'export {};\n';

describe('the import check', () => {
  test('lets imports point downwards, within a room, and the front be used by the command line', (t) => {
    assertFine(t, {
      'src/cli/main.ts': "import '../index.ts';\nimport '../store/store.ts';\nimport './help.ts';\n",
      'src/cli/help.ts': EMPTY,
      'src/index.ts': "export * from './capture/capture.ts';\nexport * from './restore/restore.ts';\n",
      'src/capture/capture.ts': "import * as ltx from '../ltx/ltx.ts';\nexport const x = ltx;\n",
      'src/restore/restore.ts': "import type { Ltx } from '../ltx/ltx.ts';\nexport type L = Ltx;\n",
      'src/ltx/ltx.ts': 'export interface Ltx {}\n',
      'src/store/store.ts': EMPTY,
      'test/ltx.test.ts': "import 'fast-check';\nimport 'node:fs';\nimport '../src/ltx/ltx.ts';\n",
    });
  });

  test('refuses an import that points upwards, in every form that it can take', (t) => {
    const forms = [
      "import { a } from '../ltx/x.ts';",
      "import type { A } from '../ltx/x.ts';",
      "import {\n  a,\n  // } from './y.ts'\n  type B,\n} from '../ltx/x.ts';",
      'import x, { a } from "../ltx/x.ts";',
      "import '../ltx/x.ts';",
      "export { a } from '../ltx/x.ts';",
      "export type { A } from '../ltx/x.ts';",
      "export * from '../ltx/x.ts';",
      "export * as x from '../ltx/x.ts';",
      "const x = await import('../ltx/x.ts');",
      "type X = import('../ltx/x.ts').A;",
      `const x = \`\${await import('../ltx/x.ts')}\`;`,
      "new Worker(new URL('../ltx/x.ts', import.meta.url));",
    ];
    for (const form of forms) {
      const store = `/* a\n comment */\n${form}\n`;
      const files = { 'src/store/s.ts': store, 'src/ltx/x.ts': EMPTY };
      assertProblem(
        t,
        files,
        /^src\/store\/s\.ts:3: store imports ltx \(\.\.\/ltx\/x\.ts\): imports point downwards only$/,
      );
    }
  });

  test('is not misled by what only looks like an import', (t) => {
    assertFine(t, {
      'src/base/a.ts': [
        "// import '../cli/x.ts';",
        "/** import x from '../cli/x.ts'; */",
        'const s = "import \'../cli/x.ts\'";',
        `const t = \`import '../cli/x.ts'; \${'\`'} \${{ a: '}' }.a} export * from '../cli/x.ts'\`;`,
        'const r = /[/"`]import\\//.test(s) ? 4 / 2 / 1 : 0;',
        "const o = { import: '../cli/x.ts', from: '../cli/x.ts' };",
        "o.import('../cli/x.ts');",
        'const url = import.meta.url;',
        "const wasm = new URL('./a.wasm', import.meta.url);",
        'export { s, t, r, o, url, wasm };',
        "export const from = '../cli/x.ts';",
      ].join('\n'),
      'src/cli/x.ts': EMPTY,
    });
  });

  test('keeps capture and restore apart, although capture stands above', (t) => {
    const files = { 'src/capture/c.ts': "import '../restore/r.ts';", 'src/restore/r.ts': EMPTY };
    assertProblem(t, files, /^src\/capture\/c\.ts:1: capture imports restore .* meet in replica and ltx$/);
  });

  test('refuses a room that is not in the house, the front from inside, and what is outside of src', (t) => {
    assertProblem(
      t,
      {
        'src/base/a.ts': "import '../attic/x.ts';",
        'src/daemon/d.ts': "import '../index.ts';",
        'src/attic/x.ts': EMPTY,
        'src/index.ts': EMPTY,
        'src/ltx/l.ts': "import '../../test/support.ts';",
        'test/support.ts': EMPTY,
      },
      /src\/base\/a\.ts:1: src\/attic\/x\.ts is in none of the rooms/,
      /src\/daemon\/d\.ts:1: daemon imports index/,
      /src\/ltx\/l\.ts:1: \.\.\/\.\.\/test\/support\.ts is outside of src/,
    );
  });

  test('refuses circles, of types too, but not what is loaded later', (t) => {
    assertProblem(
      t,
      {
        'src/ltx/a.ts': "import './b.ts';\n",
        'src/ltx/b.ts': "\nimport type { C } from './c.ts';\n",
        'src/ltx/c.ts': "import './a.ts';\n",
      },
      /^src\/ltx\/c\.ts:1: circular import: src\/ltx\/a\.ts -> src\/ltx\/b\.ts -> src\/ltx\/c\.ts -> src\/ltx\/a\.ts$/,
    );
    assertFine(t, {
      'src/ltx/a.ts': "export const a = () => import('./b.ts');\n",
      'src/ltx/b.ts': "import type { a } from './a.ts';\n",
    });
  });

  test('lets a module take from node:fs only those functions that open files which are listed for it', (t) => {
    assertProblem(
      t,
      {
        'src/base/boot.ts': EMPTY,
        'src/capture/c.ts': "import { statSync, openSync as open, type Stats } from 'node:fs';",
        'src/capture/e.ts': "import { statSync, watch } from 'node:fs';\nimport type { FSWatcher } from 'node:fs';",
        'src/capture/l0-writer.ts':
          "import * as fs from 'node:fs';\nfs.openSync(fs.statSync('x').name);\nfs.copyFileSync;",
        'src/capture/spool.ts': "import { openSync } from 'node:fs';\nimport { open } from 'node:fs/promises';",
        'src/daemon/d.ts':
          "import * as fs from 'node:fs';\nlet a: fs.Stats = fs.statSync('x');\nfs.createReadStream('x');",
        'src/ltx/f.ts': "const { readFile } = await import('node:fs/promises');",
      },
      /^src\/base\/boot\.ts:1: readFileSync is listed for it, and not used any more$/,
      /^src\/capture\/c\.ts:1: openSync of node:fs: this module may not open files by it/,
      /^src\/capture\/l0-writer\.ts:3: copyFileSync of node:fs: this module may not/,
      /^src\/capture\/spool\.ts:2: open of node:fs\/promises: this module may not/,
      /^src\/daemon\/d\.ts:3: createReadStream of node:fs: this module may not/,
      /^src\/ltx\/f\.ts:1: all of node:fs\/promises: say by name/,
    );
  });

  test('refuses all uses of node:fs as a whole that do not say what is meant', (t) => {
    const uses = [
      "fs['openSync']('x');",
      'const { openSync } = fs;',
      'call(...fs.openSync, fs);',
      'call({ ...fs });',
      'fs?.openSync;',
    ];
    for (const use of uses) {
      const files = { 'src/store/s.ts': `import * as fs from 'node:fs';\nfs.statSync('x'); o.fs.openSync;\n${use}\n` };
      const { status, problems } = check(t, files);
      assert.equal(status, 1, use);
      assert.ok(problems.some((problem) => problem.startsWith('src/store/s.ts:3: all of node:fs: say by name')));
      assert.ok(
        problems.every((problem) => problem.startsWith('src/store/s.ts:3: ')),
        use,
      );
    }
    const whole = { 'src/store/s.ts': "import fs from 'node:fs';", 'src/store/t.ts': "export * from 'node:fs';" };
    assertProblem(t, whole, /^src\/store\/s\.ts:1: all of node:fs: say/, /^src\/store\/t\.ts:1: all of node:fs: say/);
  });

  test('lets only the listed modules connect to a database', (t) => {
    assertProblem(
      t,
      {
        'src/capture/connections.ts': "import { DatabaseSync } from 'node:sqlite';",
        'src/capture/c.ts': "import { DatabaseSync } from 'node:sqlite';",
        'src/daemon/d.ts': "import type { DatabaseSync } from 'node:sqlite';",
      },
      /^src\/capture\/c\.ts:1: node:sqlite: only capture\/connections\.ts, .* may connect/,
    );
  });

  test('refuses the side doors to modules and files, and sources that it would not read', (t) => {
    assertProblem(
      t,
      {
        'src/replica/a.ts': "process.getBuiltinModule('node:fs').openSync('app.db');\nprocess.loadEnvFile('app.db');",
        'src/replica/b.ts': "import { createRequire as make } from 'node:module';",
        'src/replica/c.mjs': 'export {};',
        'src/replica/d.ts': "import { flushCompileCache } from 'node:module';\nimport { WASI } from 'node:wasi';",
        'src/replica/e.ts': "new Worker(new URL('./d.ts', import.meta.url));\nnew Worker(code, { eval: true });",
      },
      /^src\/replica\/a\.ts:1: getBuiltinModule/,
      /^src\/replica\/a\.ts:2: loadEnvFile/,
      /^src\/replica\/b\.ts:1: createRequire/,
      /^src\/replica\/b\.ts:1: node:module may open files or load modules/,
      /^src\/replica\/c\.mjs:1: .*not read/,
      /^src\/replica\/d\.ts:2: node:wasi may open files or load modules/,
      /^src\/replica\/e\.ts:2: eval /,
      /^src\/replica\/e\.ts:2: new Worker\(…\) hides what it runs/,
    );
  });

  test('lets only the listed modules call what opens database files', (t) => {
    const base = "import { openSync } from 'node:fs';\nexport const openForCapture = openSync, withDatabaseFile = 2;";
    assertProblem(
      t,
      {
        'src/base/database-files.ts': base,
        'src/capture/connections.ts': "import { openForCapture } from '../base/database-files.ts';",
        'src/capture/inspect.ts': "import { withDatabaseFile } from '../base/database-files.ts';",
        'src/restore/s.ts': "import * as files from '../base/database-files.ts';\nfiles.openForCapture;",
        'src/replica/p.ts': "// withDatabaseFile\nimport { withDatabaseFile } from '../base/database-files.ts';",
      },
      /^src\/replica\/p\.ts:2: withDatabaseFile opens database files: only .* may use it/,
      /^src\/restore\/s\.ts:2: openForCapture opens database files: only .* may use it/,
    );
  });

  test('refuses packages that are not declared, a second SQLite, and what hides its target', (t) => {
    assertProblem(
      t,
      {
        'src/base/a.ts': [
          "import 'yaml/x';",
          "import 'fast-check';",
          "import '@scope/pkg/deep';",
          "import 'fs';",
          "import 'better-sqlite3';",
          'await import(name);',
          "createRequire(import.meta.url)('left-pad');",
          "import './gone.ts';",
        ].join('\n'),
        'test/a.test.ts': "import 'fast-check';\nimport 'house';\nimport 'left-pad';\nawait import(name);",
      },
      /a\.ts:2: fast-check is not in the dependencies/,
      /a\.ts:3: @scope\/pkg is not in the dependencies/,
      /a\.ts:4: write node:fs/,
      /a\.ts:5: better-sqlite3: a second SQLite/,
      /a\.ts:6: import\(…\) hides/,
      /a\.ts:7: createRequire opens files, or brings in/,
      /a\.ts:8: \.\/gone\.ts does not exist/,
      /test\/a\.test\.ts:3: left-pad is in neither/,
    );
  });

  test('says that it cannot read a file rather than passing over it', (t) => {
    assertProblem(
      t,
      { 'src/base/a.ts': "const a = 'open;\n" },
      /^src\/base\/a\.ts:1: cannot be read: line 1: a string/,
    );
  });

  test('passes over the assembly, which is another language', (t) => {
    assertFine(t, { 'src/kernel/assembly/k.ts': "import 'nowhere';" });
  });
});

test('what is used of a namespace is found, and the import itself is none of it', () => {
  const members = (text: string): unknown => membersOf(tokenize(text), 'fs').map(({ name }) => name);
  assert.deepEqual(members("import * as fs from 'node:fs'; fs.a; x.fs.b; ({ ...fs }); `$` + fs.c; 'fs.d'"), [
    'a',
    '*',
    'c',
  ]);
});

test('names are read by what they are outside, types left out', () => {
  const names = (text: string): readonly string[] => importsOf(tokenize(text)).flatMap((found) => found.names);
  assert.deepEqual(names("import { a, b as c, type D, type as e, type } from 'x';"), ['a', 'b', 'type', 'type']);
  assert.deepEqual(names("import * as a from 'x'; import b from 'x'; import d, { c } from 'x'"), ['*', '*', '*']);
  assert.deepEqual(names("import 'x'; import type { A } from 'x'; export { b } from 'x'"), ['A', 'b']);
});
