// Compiles src to dist, which is what the package ships: JavaScript, declarations and the page kernels. Runs at `npm pack`.
import { spawnSync } from 'node:child_process';
import { copyFileSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import './build-kernel.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'dist');
// Built aside and swapped in whole: a build that fails leaves the old dist, and nothing of an older one stays.
const staged = join(root, 'build', `dist.${process.pid}.tmp`);

/** What the compiler leaves as it is: `.ts` in declarations, and in the URLs that worker threads start from. */
const OWN_MODULE = /(?<=(?:from |import\(|import |new URL\()(['"])\.{1,2}\/[^'"\n]*)\.ts(?=\1)/g;

function compile(): boolean {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const options = ['-p', join(root, 'tsconfig.build.json'), '--outDir', staged];
  return spawnSync(process.execPath, [tsc, ...options], { cwd: root, stdio: 'inherit' }).status === 0;
}

function pointToJavaScript(): void {
  for (const name of globSync('**/*.{js,d.ts}', { cwd: staged })) {
    const file = join(staged, name);
    const text = readFileSync(file, 'utf8');
    const rewritten = text.replace(OWN_MODULE, '.js');
    if (rewritten !== text) writeFileSync(file, rewritten);
  }
}

function addKernel(): void {
  mkdirSync(join(staged, 'kernel'), { recursive: true });
  copyFileSync(join(root, 'build/kernel.wasm'), join(staged, 'kernel/kernel.wasm'));
}

try {
  if (compile()) {
    pointToJavaScript();
    addKernel();
    rmSync(target, { recursive: true, force: true });
    renameSync(staged, target);
  } else {
    console.error('build: src does not compile; dist is as it was');
    process.exitCode = 1;
  }
} finally {
  rmSync(staged, { recursive: true, force: true });
}
