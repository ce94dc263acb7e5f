// Compiles src to dist, which is what the package ships: JavaScript, declarations and the page kernels. Runs at `npm pack`.
//
// The modules that a command needs are joined to few files: to find and open a hundred takes longer than to run them. What is
// loaded on demand stays apart.
import { spawnSync } from 'node:child_process';
import { copyFileSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import './build-kernel.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'dist');
// Built aside and swapped in whole: a build that fails leaves the old dist, and nothing of an older one stays.
const staged = join(root, 'build', `dist.${process.pid}.tmp`);
const compiled = join(staged, 'compiled');
const joined = join(staged, 'joined');

/** What is started from outside: by the launcher, by an import of the package, as a thread. */
const ENTRIES = ['cli/main', 'index', 'capture/capture-worker', 'capture/checkpoint-worker', 'ltx/encode-worker'];

/** What the compiler leaves as it is: `.ts` in declarations, and in the URLs that worker threads start from. */
const OWN_MODULE = /(?<=(?:from |import\(|import |new URL\()(['"])\.{1,2}\/[^'"\n]*)\.ts(?=\1)/g;

function compile(): boolean {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const options = ['-p', join(root, 'tsconfig.build.json'), '--outDir', compiled];
  return spawnSync(process.execPath, [tsc, ...options], { cwd: root, stdio: 'inherit' }).status === 0;
}

function pointToJavaScript(): void {
  for (const name of globSync('**/*.{js,d.ts}', { cwd: compiled })) {
    const file = join(compiled, name);
    const text = readFileSync(file, 'utf8');
    const rewritten = text.replace(OWN_MODULE, '.js');
    if (rewritten !== text) writeFileSync(file, rewritten);
  }
}

async function joinModules(): Promise<void> {
  await build({
    cwd: compiled,
    input: Object.fromEntries(ENTRIES.map((name) => [basename(name), `./${name}.js`])),
    platform: 'node',
    external: (id) => !id.startsWith('.') && !isAbsolute(id),
    treeshake: { moduleSideEffects: true },
    logLevel: 'warn',
    // All lie side by side: what a module looks for beside itself is there, whichever file it went into.
    output: { dir: joined, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' },
  });
}

function addDeclarations(): void {
  for (const name of globSync('**/*.d.ts', { cwd: compiled })) {
    mkdirSync(dirname(join(joined, name)), { recursive: true });
    copyFileSync(join(compiled, name), join(joined, name));
  }
}

try {
  if (compile()) {
    pointToJavaScript();
    await joinModules();
    addDeclarations();
    copyFileSync(join(root, 'build/kernel.wasm'), join(joined, 'kernel.wasm'));
    rmSync(target, { recursive: true, force: true });
    renameSync(joined, target);
  } else {
    console.error('build: src does not compile; dist is as it was');
    process.exitCode = 1;
  }
} finally {
  rmSync(staged, { recursive: true, force: true });
}
