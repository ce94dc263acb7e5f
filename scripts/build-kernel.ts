// Compiles src/kernel/assembly/kernels.ts to build/kernel.wasm with AssemblyScript. Runs at `npm install`.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, 'src/kernel/assembly/kernels.ts');
const target = join(root, 'build/kernel.wasm');
const asc = join(root, 'node_modules/assemblyscript/bin/asc.js');

if (!existsSync(target) || statSync(target).mtimeMs < statSync(source).mtimeMs) {
  mkdirSync(dirname(target), { recursive: true });
  const staged = `${target}.${process.pid}.tmp`;
  execFileSync(
    process.execPath,
    [asc, source, '-o', staged, '--runtime', 'stub', '-O3', '--noAssert', '--converge'].concat(
      ['--enable', 'simd,bulk-memory,threads', '--importMemory', '--sharedMemory'],
      ['--initialMemory', '1', '--maximumMemory', '16384'],
    ),
    { cwd: root, stdio: 'inherit' },
  );
  renameSync(staged, target);
}
