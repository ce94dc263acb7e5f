import { readFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { defineCommand } from './command.ts';

export const version = defineCommand({
  name: 'version',
  about: ['Prints the version of Rivulet.'],
  usage: ['version [-verbose]'],
  flags: { verbose: { kind: 'switch', help: 'Also print the versions of Node and SQLite, and the platform.' } },
  maxPositionals: 0,
  async run({ flags }) {
    process.stdout.write(flags.verbose ? verboseVersion() : `${productVersion()}\n`);
    return 0;
  },
});

/** Rivulet's own version, from its package. */
export function productVersion(): string {
  // Two folders up, from src/cli as from dist/cli.
  const json: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : '(unknown)';
}

function verboseVersion(): string {
  return [
    `Version:        ${productVersion()}`,
    `Node Version:   ${process.version}`,
    `SQLite Version: ${process.versions.sqlite ?? '(none)'}`,
    `OS/Arch:        ${platform()}/${arch()}`,
    '',
  ].join('\n');
}
