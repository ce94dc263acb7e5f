import type { RivuletError } from '../base/errors.ts';
import { nearest } from '../config/nearest.ts';
import { type FlagSpec, usageError } from './args.ts';
import type { CommandHelp } from './command.ts';
import { COMMANDS, UNBUILT_COMMANDS } from './commands.ts';

const WIDTH = 80;
const FLAG_INDENT = '      ';

/** The list of commands. */
export function overview(): string {
  const shown = COMMANDS.filter((command) => !command.hidden);
  const longest = Math.max(...shown.map((command) => command.name.length));
  return [
    'Rivulet streams SQLite databases to storage you control, and brings them back.',
    '',
    'Usage:',
    '',
    '  rivulet COMMAND [flags] [arguments]',
    '',
    'Commands:',
    '',
    ...shown.map(({ name, summary }) => `  ${name.padEnd(longest)}  ${summary}`),
    '',
    '`rivulet help COMMAND` explains a command and its flags.',
    '',
  ].join('\n');
}

/** All of a command: what it does, how it is called, its flags. */
export function commandHelp(help: CommandHelp): string {
  const flags = Object.entries(help.flags);
  const built = flags.filter(([, spec]) => !spec.unbuilt);
  const unbuilt = flags.filter(([, spec]) => spec.unbuilt).map(([name]) => `-${name}`);
  const sections = [
    help.about.map((paragraph) => wrap(paragraph, '').join('\n')).join('\n\n'),
    ['Usage:', '', ...help.usage.map((form) => `  rivulet ${form}`)].join('\n'),
    built.length > 0 && ['Flags:', ...built.flatMap(([name, spec]) => flagLines(name, spec))].join('\n'),
    unbuilt.length > 0 && wrap(`Litestream's flags that are not built yet: ${unbuilt.join(', ')}.`, '').join('\n'),
    help.examples && ['Examples:', ...help.examples.flatMap(exampleLines)].join('\n'),
  ];
  return `${sections.filter(Boolean).join('\n\n')}\n`;
}

function flagLines(name: string, spec: FlagSpec): string[] {
  return ['', `  -${name}${spec.kind === 'value' ? ` ${spec.value}` : ''}`, ...wrap(spec.help, FLAG_INDENT)];
}

function exampleLines({ does, command }: { readonly does: string; readonly command: string }): string[] {
  return ['', `  # ${does}`, `  ${command}`];
}

function wrap(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(indent + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, indent + line];
}

export function unknownCommand(name: string): RivuletError {
  const near = nearest(name, [
    ...COMMANDS.filter((command) => !command.hidden).map((c) => c.name),
    ...UNBUILT_COMMANDS,
  ]);
  const question = near ? `did you mean \`rivulet ${near}\`? ` : '';
  return usageError(`rivulet ${name}: unknown command`, `${question}\`rivulet help\` lists the commands`);
}
