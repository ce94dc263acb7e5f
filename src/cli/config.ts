import type { RivuletError } from '../base/errors.ts';
import type { ProbeStep } from '../replica/probe-store.ts';
import { type FlagSpecs, type Flags, usageError } from './args.ts';
import { CONFIG_FLAGS, defineCommand } from './command.ts';

const flags = { ...CONFIG_FLAGS, json: { kind: 'switch', help: 'Print JSON.' } } as const satisfies FlagSpecs;

export const config = defineCommand({
  name: 'config',
  about: [
    'config check prints the configuration as it is understood, with every default filled in and secrets hidden. Then it tries each replica: list, write, write where something is already, read, delete. It writes one small object, removes it again, and touches nothing else.',
    'config schema prints the JSON Schema of the configuration, for editors.',
  ],
  usage: ['config check [flags]', 'config schema'],
  flags,
  examples: [
    { does: 'Whether all is well before the service is started', command: 'rivulet config check -config rivulet.yml' },
    { does: 'The schema for an editor', command: 'rivulet config schema > rivulet.schema.json' },
  ],
  maxPositionals: 1,
  async run({ flags, positionals }) {
    if (positionals[0] === 'check') return check(flags);
    if (positionals[0] === 'schema') return printSchema();
    throw usageError('must specify what to do: check or schema', 'rivulet config check');
  },
});

async function printSchema(): Promise<number> {
  const { configJsonSchemaText } = await import('../config/json-schema.ts');
  process.stdout.write(configJsonSchemaText());
  return 0;
}

async function check({ config: path, json, 'no-expand-env': raw }: Flags<typeof flags>): Promise<number> {
  const { loadConfig } = await import('../config/load-config.ts');
  const { checkReplica } = await import('./config-check.ts');
  const { checkJson, describeConfig, describeReplica } = await import('./config-text.ts');
  const config = loadConfig({ path, expandEnv: !raw });
  if (!json) process.stdout.write(describeConfig(config));
  const checks = [];
  for (const database of config.dbs) {
    const checked = await checkReplica(database);
    checks.push(checked);
    if (!json) process.stdout.write(describeReplica(checked));
  }
  if (json) process.stdout.write(checkJson(config, checks));
  const error = checks.map(firstError).find((found) => found !== undefined);
  if (error) throw error;
  return 0;
}

function firstError({ error, steps }: { readonly error?: RivuletError; readonly steps: readonly ProbeStep[] }) {
  return error ?? steps.find(({ outcome }) => outcome === 'failed')?.error;
}
