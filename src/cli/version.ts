import { existsSync, readFileSync } from 'node:fs';
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
  // Packed: beside the folder of the compiled files. In a checkout: beside that of the sources.
  const places = ['../package.json', '../../package.json'].map((place) => new URL(place, import.meta.url));
  const file = places.find((place) => existsSync(place));
  const json: unknown = file && JSON.parse(readFileSync(file, 'utf8'));
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
