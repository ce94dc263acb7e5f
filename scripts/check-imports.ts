// Checks the house: imports between the rooms of src point downwards only, and what is dangerous stays where it belongs.
// Usage: node scripts/check-imports.ts [--root FOLDER]. Exit status 1 and one line for each problem when there are some.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  BUILTINS,
  GUARDED_CALLS,
  OF_NODE_MODULE,
  OPENS_FILES,
  OPENS_NOTHING,
  type Permission,
  SIDE_DOORS,
  SQLITE,
} from './import-permissions.ts';
import { importsOf, type ModuleImport, membersOf, type Token, tokenize } from './module-imports.ts';

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

const HOW_TO_OPEN =
  'a database goes through base/database-files.ts; who else opens files is listed in scripts/import-permissions.ts';

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

const SOURCE_RULES: readonly Rule[] = [checkRoom, checkBuiltin, checkSqlite, checkHidden, checkTarget, checkPackage];
const TOOL_RULES: readonly Rule[] = [checkTarget, checkPackage];

/** Everything wrong with the modules below `root`, by file and line. */
function checkImports(root: string): Problem[] {
  const { modules, problems } = readModules(root);
  const house: House = { root, modules, packages: declaredPackages(root) };
  for (const module of modules.values()) {
    const inSource = module.file.startsWith('src/');
    if (inSource) problems.push(...openedFiles(module), ...guardedCalls(module), ...threads(module));
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

/** The functions of node:fs that open files: only those may be used that are listed for this module, and all of them are. */
function openedFiles(module: Module): Problem[] {
  const allowed = OPENS_FILES.find(({ file }) => module.file === `src/${file}`)?.calls ?? [];
  const used = module.imports.flatMap((imported) => opening(module, imported));
  const problems = used.filter(({ name }) => !allowed.includes(name));
  const unused = allowed.filter((call) => used.every(({ name }) => name !== call));
  return [
    ...problems.map(({ name, of, line }) => {
      const message =
        name === '*'
          ? `all of ${of}: say by name what is used (${HOW_TO_OPEN})`
          : `${name} of ${of}: this module may not open files by it (${HOW_TO_OPEN})`;
      return { file: module.file, line, message };
    }),
    ...unused.map((call) => ({
      file: module.file,
      line: 1,
      message: `${call} is listed for it, and not used any more`,
    })),
  ];
}

/** What an import of node:fs gives that opens files, where it is used; `*` where anything could be meant. */
function opening(module: Module, imported: ModuleImport): { name: string; of: string; line: number }[] {
  const { kind, specifier, names, namespace, line } = imported;
  if (kind === 'type' || !/^node:fs(\/|$)/.test(specifier)) return [];
  const used = namespace ? membersOf(module.tokens, namespace) : names.map((name) => ({ name, line }));
  return used.filter(({ name }) => !OPENS_NOTHING.has(name)).map((use) => ({ ...use, of: specifier }));
}

function permits(permissions: readonly Permission[], module: Module): boolean {
  return permissions.some(({ file }) => module.file === `src/${file}`);
}

function checkBuiltin(_: Module, { kind, specifier, names }: ModuleImport): string | undefined {
  if (kind === 'type' || !specifier.startsWith('node:') || BUILTINS.has(specifier)) return undefined;
  if (specifier === 'node:module' && names.every((name) => OF_NODE_MODULE.has(name))) return undefined;
  return `${specifier} may open files or load modules past these rules: see BUILTINS in scripts/import-permissions.ts`;
}

function checkSqlite(module: Module, { kind, specifier }: ModuleImport): string | undefined {
  if (kind === 'type' || specifier !== 'node:sqlite' || permits(SQLITE, module)) return undefined;
  return `node:sqlite: only ${filesOf(SQLITE)} may connect to a database`;
}

function filesOf(permissions: readonly Permission[]): string {
  return permissions.map(({ file }) => file).join(', ');
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
      problems.push({
        file: module.file,
        line,
        message: `${text} opens files, or brings in modules, that these rules do not see`,
      });
    }
    const permissions = kind === 'word' ? GUARDED_CALLS.get(text) : undefined;
    if (permissions && !permits(permissions, module)) {
      const message = `${text} opens database files: only ${filesOf(permissions)} may use it`;
      problems.push({ file: module.file, line, message });
    }
  }
  return problems;
}

/** A thread is started from a module of its own, which these rules read, and not from a text. */
function threads(module: Module): Problem[] {
  const starts = module.tokens.flatMap(({ text, line }, at) =>
    text === 'new' && wordAt(module, at + 1) === 'Worker' ? [{ at, line }] : [],
  );
  return starts
    .filter(({ at }) => wordAt(module, at + 3) !== 'new' || wordAt(module, at + 4) !== 'URL')
    .map(({ line }) => ({
      file: module.file,
      line,
      message: 'new Worker(…) hides what it runs: give it a new URL(…) of a module',
    }));
}

function wordAt({ tokens }: Module, at: number): string | undefined {
  return tokens[at]?.kind === 'word' ? tokens[at].text : undefined;
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
