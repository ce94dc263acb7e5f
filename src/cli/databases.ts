import { CONFIG_FLAGS, defineCommand } from './command.ts';

export const databases = defineCommand({
  name: 'databases',
  about: ['Lists the databases of the configuration. Neither they nor their replicas are opened.'],
  usage: ['databases [flags]'],
  flags: { ...CONFIG_FLAGS, json: { kind: 'switch', help: 'Print JSON.' } },
  examples: [{ does: 'What is replicated here', command: 'rivulet databases -config /etc/rivulet.yml' }],
  maxPositionals: 0,
  async run({ flags }) {
    const { loadConfig } = await import('../config/load-config.ts');
    const { formatJson, formatTable } = await import('./format.ts');
    const { dbs } = loadConfig({ path: flags.config, expandEnv: !flags['no-expand-env'] });
    const text = flags.json
      ? formatJson(dbs.map(({ path, replica }) => ({ path, replica: replica.type, url: replica.url })))
      : formatTable([['path', 'replica'], ...dbs.map(({ path, replica }) => [path, replica.type])]);
    process.stdout.write(text);
    return 0;
  },
});
