import { type FlagSpecs, type ParsedArgs, parseArgs, usageError } from './args.ts';

/** What `help` prints of a command. */
export interface CommandHelp {
  readonly name: string;
  /** What it does, one paragraph each. */
  readonly about: readonly string[];
  /** The forms that it is called in, without `rivulet`. */
  readonly usage: readonly string[];
  readonly flags: FlagSpecs;
  readonly examples?: readonly { readonly does: string; readonly command: string }[];
}

export interface CommandSpec<S extends FlagSpecs> extends CommandHelp {
  readonly flags: S;
  /** Most positionals that it takes. */
  readonly maxPositionals: number;
  run(args: ParsedArgs<S>): Promise<number>;
}

export interface Command {
  readonly help: CommandHelp;
  /** Runs it; the result is the exit status. */
  execute(argv: readonly string[]): Promise<number>;
}

/** Puts the parsing and the help around a command's body. */
export function defineCommand<S extends FlagSpecs>(spec: CommandSpec<S>): Command {
  return {
    help: spec,
    async execute(argv) {
      const args = parseArgs(spec.name, spec.flags, argv);
      if (args === 'help') {
        const { commandHelp } = await import('./help-text.ts');
        process.stdout.write(commandHelp(spec));
        return 0;
      }
      if (args.positionals.length > spec.maxPositionals) {
        throw usageError('too many arguments', `rivulet ${spec.usage.at(-1) ?? spec.name}`);
      }
      return spec.run(args);
    },
  };
}

/** The flags of every command that reads a configuration. */
export const CONFIG_FLAGS = {
  config: {
    kind: 'value',
    value: 'PATH',
    help: 'The configuration file. Default: $RIVULET_CONFIG, $LITESTREAM_CONFIG, ./rivulet.yml, ./litestream.yml, /etc/rivulet.yml, /etc/litestream.yml.',
  },
  'no-expand-env': {
    kind: 'switch',
    help: 'Leave references to environment variables in the configuration as they are.',
  },
} as const satisfies FlagSpecs;
