import { notBuilt } from '../config/not-built.ts';
import { defineCommand } from './command.ts';
import { COMMANDS, UNBUILT_COMMANDS } from './commands.ts';
import { commandHelp, overview, unknownCommand } from './help-text.ts';

export const help = defineCommand({
  name: 'help',
  about: ['Lists the commands, or explains one of them and its flags.'],
  usage: ['help', 'help COMMAND'],
  flags: {},
  maxPositionals: 1,
  async run({ positionals: [name] }) {
    process.stdout.write(name === undefined ? overview() : await helpOf(name));
    return 0;
  },
});

async function helpOf(name: string): Promise<string> {
  const entry = COMMANDS.find((command) => command.name === name);
  if (entry) return commandHelp((await entry.load()).help);
  throw UNBUILT_COMMANDS.includes(name) ? notBuilt(`the command \`${name}\``) : unknownCommand(name);
}
