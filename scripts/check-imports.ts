// Checks the house: imports between the rooms of src point downwards only, and what is dangerous stays where it belongs.
// Usage: node scripts/check-imports.ts [--root FOLDER]. Exit status 1 and one line for each problem when there are some.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { importsOf, type ModuleImport, type Token, tokenize } from './module-imports.ts';

/** From the top of the house to its ground; a room imports itself and what is below. `index` is src/index.ts. */
const ROOMS = [
  'cli',
  'index',
  'daemon',
  'environment',
  'capture',
  'restore',
  'maintain',
  'replica',
  'ltx',
  'sqlite',
  'store',
  'kernel',
  'config',
  'base',
];

/** Rooms that never import each other, whatever their order. They meet in replica and ltx. */
const STRANGERS: readonly (readonly string[])[] = [['capture', 'restore']];

/** Where something may be used: a room (`capture/`) or a file, and why. */
interface Permission {
  readonly place: string;
  readonly why: string;
}

/** Closing any descriptor of a database drops the locks that SQLite holds on it, so few places open files at all. */
const OPENS_FILES: readonly Permission[] = [
  { place: 'base/', why: 'database-files.ts and durable-file.ts are the guarded doors that others go through' },
  { place: 'store/', why: 'the file store keeps objects in a folder, and every store uploads from files' },
  { place: 'kernel/kernel.ts', why: 'loads kernel.wasm' },
  { place: 'config/', why: 'reads the configuration file' },
  { place: 'cli/', why: 'looks whether the paths that a user typed exist' },
  { place: 'daemon/', why: 'watches directories, owns the control socket' },
  { place: 'replica/local-state.ts', why: 'the state beside a database, never the database itself' },
  { place: 'capture/l0-writer.ts', why: 'LTX files that wait for their upload, never the database itself' },
  { place: 'capture/spool.ts', why: 'the same files' },
  { place: 'restore/', why: 'writes a database that nobody has open yet, under a temporary name' },
];

/** What any module may take from node:fs, by name: it opens no path (and SQLite's locks survive it). */
const OPENS_NOTHING = new Set(
  ['access', 'exists', 'fdatasync', 'fstat', 'fsync', 'lstat', 'mkdir', 'mkdtemp', 'readdir', 'readlink', 'realpath']
    .concat(['close', 'read', 'readv', 'rename', 'rm', 'rmdir', 'stat', 'statfs', 'unlink', 'utimes', 'watch', 'write'])
    .flatMap((name) => [name, `${name}Sync`]),
);

const HOW_TO_OPEN =
  'a database goes through base/database-files.ts, the rest through where scripts/check-imports.ts lists';

/** A connection to a user's database takes locks and may checkpoint. */
const SQLITE: readonly Permission[] = [
  { place: 'capture/', why: 'holds the read transactions and runs the checkpoints' },
  { place: 'replica/owner-lock.ts', why: 'a lock of SQLite on a file of our own' },
  { place: 'restore/', why: 'integrity_check of what it restored, and the check that nobody uses what it replaces' },
];

/** What brings in a module past `import`, whatever it is called through. */
const SIDE_DOORS: ReadonlySet<string> = new Set(['getBuiltinModule', 'createRequire']);

/** Functions of base/database-files.ts that open a database file. */
const GUARDED_CALLS: ReadonlyMap<string, readonly Permission[]> = new Map([
  [
    'openForCapture',
    [
      { place: 'base/database-files.ts', why: 'defines it' },
      { place: 'capture/', why: 'the one owner of descriptors of a live database' },
    ],
  ],
  [
    'withDatabaseFile',
    [
      { place: 'base/database-files.ts', why: 'defines it' },
      { place: 'capture/', why: 'reads the header before a capture claims the database' },
      { place: 'restore/', why: 'reads what stands at the target before it is replaced' },
    ],
  ],
]);

interface Module {
  /** Relative to the root, with slashes. */
  readonly file: string;
  readonly tokens: readonly Token[];
  readonly imports: readonly ModuleImport[];
}

interface Problem {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** What the rules look at. */
interface House {
  readonly root: string;
  readonly modules: ReadonlyMap<string, Module>;
  readonly packages: DeclaredPackages;
}

/** Says what is wrong with one import, or nothing. */
type Rule = (module: Module, imported: ModuleImport, house: House) => string | undefined;

const SOURCE_RULES: readonly Rule[] = [checkRoom, checkFileSystem, checkSqlite, checkHidden, checkTarget, checkPackage];
const TOOL_RULES: readonly Rule[] = [checkTarget, checkPackage];

/** Everything wrong with the modules below `root`, by file and line. */
function checkImports(root: string): Problem[] {
  const { modules, problems } = readModules(root);
  const house: House = { root, modules, packages: declaredPackages(root) };
  for (const module of modules.values()) {
    const inSource = module.file.startsWith('src/');
    if (inSource) problems.push(...guardedCalls(module));
    for (const imported of module.imports) {
      for (const rule of inSource ? SOURCE_RULES : TOOL_RULES) {
        const message = rule(module, imported, house);
        if (message !== undefined) problems.push({ file: module.file, line: imported.line, message });
      }
    }
  }
  problems.push(...cycles(modules));
  return problems.sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
}

function readModules(root: string): { modules: Map<string, Module>; problems: Problem[] } {
  const modules = new Map<string, Module>();
  const problems: Problem[] = [];
  const found = globSync(['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts'], { cwd: root });
  // The assembly is AssemblyScript: another language, compiled on its own.
  for (const file of found.filter((name) => !name.startsWith('src/kernel/assembly/')).sort()) {
    try {
      const tokens = tokenize(readFileSync(join(root, file), 'utf8'));
      modules.set(file, { file, tokens, imports: importsOf(tokens) });
    } catch (error) {
      problems.push({ file, line: 1, message: `cannot be read: ${error instanceof Error ? error.message : error}` });
    }
  }
  for (const file of globSync('src/**/*.{js,mjs,cjs,jsx,mts,cts,tsx}', { cwd: root })) {
    problems.push({ file, line: 1, message: 'sources are .ts files: this one is not read by these rules' });
  }
  return { modules, problems };
}

/** What package.json declares; an absent manifest declares nothing. */
interface DeclaredPackages {
  readonly name: unknown;
  readonly shipped: ReadonlySet<string>;
  readonly development: ReadonlySet<string>;
}

function declaredPackages(root: string): DeclaredPackages {
  const file = join(root, 'package.json');
  const manifest: Record<string, unknown> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const names = (...fields: string[]): Set<string> =>
    new Set(fields.flatMap((field) => Object.keys(manifest[field] ?? {})));
  return {
    name: manifest.name,
    shipped: names('dependencies', 'optionalDependencies', 'peerDependencies'),
    development: names('devDependencies'),
  };
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.') || specifier.startsWith('/');
}

/** The imported file, relative to the root. */
function targetOf(module: Module, { specifier }: ModuleImport): string {
  return join(dirname(module.file), specifier);
}

/** The room of a file below src; undefined for one that is in none. */
function roomOf(file: string): string | undefined {
  if (file === 'src/index.ts') return 'index';
  const [, room, inside] = file.split('/');
  return inside !== undefined && room !== 'index' && ROOMS.includes(room ?? '') ? room : undefined;
}

function checkRoom(module: Module, imported: ModuleImport): string | undefined {
  if (imported.kind === 'hidden' || !isRelative(imported.specifier)) return undefined;
  const target = targetOf(module, imported);
  if (!target.startsWith('src/')) return `${imported.specifier} is outside of src`;
  const from = roomOf(module.file);
  const to = roomOf(target);
  if (from === undefined || to === undefined) {
    return `${from === undefined ? module.file : target} is in none of the rooms (${ROOMS.join(', ')})`;
  }
  const what = `${from} imports ${to} (${imported.specifier})`;
  const areStrangers = STRANGERS.some((pair) => from !== to && pair.includes(from) && pair.includes(to));
  if (areStrangers) return `${what}: these two meet in replica and ltx`;
  return ROOMS.indexOf(to) < ROOMS.indexOf(from) ? `${what}: imports point downwards only` : undefined;
}

function permits(permissions: readonly Permission[], { file }: Module): boolean {
  return permissions.some(({ place }) =>
    place.endsWith('/') ? file.startsWith(`src/${place}`) : file === `src/${place}`,
  );
}

function checkFileSystem(module: Module, { kind, specifier, names }: ModuleImport): string | undefined {
  if (kind === 'type' || !/^node:fs(\/|$)/.test(specifier) || permits(OPENS_FILES, module)) return undefined;
  const opening = names.filter((name) => !OPENS_NOTHING.has(name));
  if (opening.length === 0) return undefined;
  return opening.includes('*')
    ? `all of ${specifier}: import by name what is needed, and nothing that opens files (${HOW_TO_OPEN})`
    : `${opening.join(', ')} of ${specifier}: this module may not open files (${HOW_TO_OPEN})`;
}

function checkSqlite(module: Module, { kind, specifier }: ModuleImport): string | undefined {
  if (kind === 'type' || specifier !== 'node:sqlite' || permits(SQLITE, module)) return undefined;
  return `node:sqlite: only ${placesOf(SQLITE)} may connect to a database`;
}

function placesOf(permissions: readonly Permission[]): string {
  return permissions.map(({ place }) => place).join(', ');
}

function checkHidden(_: Module, { kind, specifier }: ModuleImport): string | undefined {
  if (kind !== 'hidden') return undefined;
  return `${specifier}(…) hides what it loads: import a module by its literal name`;
}

function checkTarget(module: Module, imported: ModuleImport, { root, modules }: House): string | undefined {
  if (imported.kind === 'hidden' || !isRelative(imported.specifier)) return undefined;
  const target = targetOf(module, imported);
  return modules.has(target) || existsSync(join(root, target)) ? undefined : `${imported.specifier} does not exist`;
}

function checkPackage(module: Module, { kind, specifier }: ModuleImport, { packages }: House): string | undefined {
  if (kind === 'hidden' || isRelative(specifier) || specifier.startsWith('node:')) return undefined;
  if (isBuiltin(specifier)) return `write node:${specifier}, so that the rules see it`;
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const inSource = module.file.startsWith('src/');
  if (inSource && /sqlite/i.test(name)) return `${name}: a second SQLite in the process drops the locks of the first`;
  if (packages.shipped.has(name)) return undefined;
  if (inSource) return `${name} is not in the dependencies of package.json`;
  if (packages.development.has(name) || name === packages.name) return undefined;
  return `${name} is in neither the dependencies nor the devDependencies of package.json`;
}

function guardedCalls(module: Module): Problem[] {
  const problems: Problem[] = [];
  for (const { kind, text, line } of module.tokens) {
    if (kind === 'word' && SIDE_DOORS.has(text)) {
      problems.push({ file: module.file, line, message: `${text} brings in modules that these rules do not see` });
    }
    const permissions = kind === 'word' ? GUARDED_CALLS.get(text) : undefined;
    if (permissions && !permits(permissions, module)) {
      const message = `${text} opens database files: only ${placesOf(permissions)} may use it`;
      problems.push({ file: module.file, line, message });
    }
  }
  return problems;
}

/** Types count too: two modules that need each other are one. What is loaded later (`import()`, a thread) does not. */
function cycles(modules: ReadonlyMap<string, Module>): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (module: Module): void => {
    path.push(module.file);
    for (const imported of module.imports) {
      const isPart = imported.kind === 'static' || imported.kind === 'type';
      const target = isPart && isRelative(imported.specifier) ? modules.get(targetOf(module, imported)) : undefined;
      if (!target || done.has(target.file)) continue;
      const start = path.indexOf(target.file);
      if (start < 0) {
        visit(target);
      } else {
        const message = `circular import: ${[...path.slice(start), target.file].join(' -> ')}`;
        problems.push({ file: module.file, line: imported.line, message });
      }
    }
    path.pop();
    done.add(module.file);
  };
  for (const module of modules.values()) if (!done.has(module.file)) visit(module);
  return problems;
}

const { values } = parseArgs({ options: { root: { type: 'string' } } });
const root = resolve(values.root ?? dirname(dirname(fileURLToPath(import.meta.url))));
const problems = checkImports(root);
for (const { file, line, message } of problems) {
  console.error(`${relative(process.cwd(), join(root, file))}:${line}: ${message}`);
}
if (problems.length > 0) {
  console.error(`check-imports: ${problems.length} problem${problems.length === 1 ? '' : 's'}`);
  process.exitCode = 1;
}
