import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/base/errors.ts';
import { formatJson } from '../src/cli/format.ts';
import { RGW, RgwServer, startRgw } from '../test/servers/rgw.ts';
import { databaseOf } from './database.ts';
import { goalsOf } from './goals.ts';
import { describeMachine } from './machine.ts';
import { type Results, SECTIONS, type Section, type Setting } from './sections.ts';
import { printGoals, printSection, printSetting } from './tables.ts';
import { litestream, rivulet, sqlite3 } from './tools.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const CACHE = join(here, '.cache');
/**
 * Within 30 s of its start Litestream merges its first image into its next level, which would be most of its CPU; and it takes a
 * minute until most of Rivulet's code that is not run often is compiled.
 */
const WARM_AFTER_SECONDS = 60;
/** Two of the merges that Litestream makes every 30 s. */
const STEADY_SECONDS = 60;

const USAGE = `npm run bench [-- FLAGS]

  --quick        a database of 64 MiB, one run of each, 3 seconds of commits
  --runs N       runs of each (default 3)
  --only NAMES   some of: ${SECTIONS.map(({ name }) => name).join(', ')}
  --json FILE    where the results go (default bench/results.json; with --quick or --only nowhere)

The exit status is 2 where a goal was missed. Litestream is looked for in RIVULET_TEST_LITESTREAM, in .tools and on PATH.
`;

interface Flags {
  readonly quick: boolean;
  readonly runs: number;
  readonly sections: readonly Section[];
  readonly json: string | undefined;
}

/** Runs the benchmark; returns the exit status: 2 when it came to its end and missed a goal. */
export async function bench(argv: readonly string[]): Promise<number> {
  let flags: Flags | undefined;
  try {
    flags = readFlags(argv);
  } catch (error) {
    process.stderr.write(`Error: ${messageOf(error)}\n\n${USAGE}`);
    return 1;
  }
  if (!flags) {
    process.stdout.write(USAGE);
    return 0;
  }
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'work-'));
  const clear = (): void => rmSync(work, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
  process.once('exit', clear);
  return (await runSections(flags, work)) ? 0 : 2;
}

function readFlags(argv: readonly string[]): Flags | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      runs: { type: 'string' },
      only: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const { quick, only } = values;
  const runs = Number(values.runs ?? (quick ? 1 : 3));
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1: ${values.runs}`);
  const json = values.json ?? (quick || only ? undefined : join(here, 'results.json'));
  return { quick, runs, sections: only === undefined ? SECTIONS : only.split(',').map(sectionOf), json };
}

function sectionOf(name: string): Section {
  const section = SECTIONS.find((known) => known.name === name);
  if (!section) throw new Error(`--only takes ${SECTIONS.map((known) => known.name).join(', ')}: ${name}`);
  return section;
}

/** Whether every goal was met. */
async function runSections({ quick, runs, sections, json }: Flags, work: string): Promise<boolean> {
  const databaseMib = quick ? 64 : 512;
  const bucketMib = 128;
  const gateway = sections.some(({ name }) => name.startsWith('s3-re')) && RGW.path ? await startRgw() : undefined;
  const setting: Setting = {
    work,
    runs,
    databaseMib,
    database: databaseOf(CACHE, databaseMib),
    largeMib: quick ? 1024 : 12 * 1024,
    smallDatabase: databaseOf(CACHE, 64),
    stream: { commitsPerSecond: 400, seconds: quick ? 3 : 10 },
    warmUp: { commitsPerSecond: 400, commits: 400 * (quick ? 1 : WARM_AFTER_SECONDS) },
    paces: {
      '400 a second': { commitsPerSecond: 400, commits: 400 * (quick ? 3 : STEADY_SECONDS) },
      'as fast as it can': { commitsPerSecond: 0, commits: quick ? 20_000 : 200_000 },
    },
    checkpoints: {
      '400 a second': { commitsPerSecond: 400, commitsBetween: [40, 160], checkpoints: quick ? 10 : 30 },
      '10 a second': { commitsPerSecond: 10, commitsBetween: [5, 20], checkpoints: quick ? 3 : 15 },
    },
    bucketMib,
    bucketDatabase: databaseOf(CACHE, bucketMib),
    s3: gateway && new RgwServer(gateway.access),
    rivulet: rivulet(),
    litestream: litestream(),
    sqlite3: sqlite3(),
  };
  printSetting(setting);
  const results: Results = {};
  for (const section of sections) {
    const result = await section.run(setting);
    results[section.name] = result;
    printSection(section, result, setting);
  }
  await gateway?.stop();
  const goals = goalsOf(results);
  printGoals(goals, setting);
  if (json !== undefined) {
    writeFileSync(json, formatJson({ ...describeMachine(setting), results, goals }));
    process.stdout.write(`\nwritten to ${json}\n`);
  }
  return Object.values(goals).every(({ met }) => met);
}
