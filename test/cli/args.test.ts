import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type FlagSpecs, parseArgs } from '../../src/cli/args.ts';

const SPECS = {
  config: { kind: 'value', value: 'PATH', help: 'x' },
  o: { kind: 'value', value: 'PATH', help: 'x' },
  json: { kind: 'switch', help: 'x' },
  force: { kind: 'switch', help: 'x' },
  timestamp: { kind: 'value', value: 'TIME', unbuilt: true, help: 'x' },
  f: { kind: 'switch', unbuilt: true, help: 'x' },
} as const satisfies FlagSpecs;

const NONE = { config: undefined, o: undefined, json: false, force: false, timestamp: undefined, f: false };

function parse(...argv: string[]) {
  const parsed = parseArgs('restore', SPECS, argv);
  assert.notEqual(parsed, 'help');
  return parsed === 'help' ? { flags: NONE, positionals: [] } : parsed;
}

test('flags are given with one dash or two, with a value beside them or behind an equals sign', () => {
  for (const argv of [['-o', 'x'], ['--o', 'x'], ['-o=x'], ['--o=x']]) assert.equal(parse(...argv).flags.o, 'x');
  assert.equal(parse('-o=').flags.o, '');
  assert.equal(parse('-o=a=b\nc').flags.o, 'a=b\nc');
  assert.equal(parse('-o', '').flags.o, '');
  assert.equal(parse('-o', 'a', '-o=b').flags.o, 'b');
});

test('a switch is on when it is there, and takes a value only behind an equals sign', () => {
  assert.equal(parse('-json').flags.json, true);
  for (const on of ['1', 't', 'true', 'TRUE']) assert.equal(parse(`-json=${on}`).flags.json, true);
  for (const off of ['0', 'f', 'false', 'False']) assert.equal(parse('-json', `--json=${off}`).flags.json, false);
  assert.deepEqual(parse('-json', 'false'), { flags: { ...NONE, json: true }, positionals: ['false'] });
  assert.throws(() => parse('-json=maybe'), { code: 'USAGE', message: 'invalid boolean value "maybe" for -json' });
});

test('a value may start with a dash unless it is a flag that is known', () => {
  assert.equal(parse('-o', '-x').flags.o, '-x');
  assert.equal(parse('-o', '-').flags.o, '-');
  assert.equal(parse('-o=-json').flags.o, '-json');
  for (const argv of [['-o'], ['-o', '-json'], ['-o', '--config=x'], ['-o', '--']]) {
    assert.throws(() => parse(...argv), { code: 'USAGE', message: 'flag needs an argument: -o PATH' });
  }
});

test('after two dashes everything is a positional', () => {
  assert.deepEqual(parse('a', '--', '-json', '--', '-h'), { flags: NONE, positionals: ['a', '-json', '--', '-h'] });
  assert.deepEqual(parse('-').positionals, ['-']);
});

test('an unknown flag is an error that names the nearest one and the help', () => {
  assert.throws(() => parse('-forse'), {
    code: 'USAGE',
    message: 'flag provided but not defined: -forse',
    next: 'did you mean -force? `rivulet help restore` lists the flags',
  });
  for (const name of ['zork', 'constructor', '__proto__', '-x', '']) {
    assert.throws(() => parse(`-${name}`.replace(/^-$/, '-=')), { message: /^flag provided but not defined: -/ }, name);
  }
});

test('a flag that is not built yet is an error that says so by name', () => {
  for (const argv of [['-timestamp', '2020-01-01T00:00:00Z'], ['-timestamp=x'], ['-timestamp']]) {
    assert.throws(() => parse(...argv, 'a'), {
      code: 'NOT_BUILT',
      message: /^the flag -timestamp is known to Litestream/,
    });
  }
  assert.throws(() => parse('-f'), { code: 'NOT_BUILT', message: /^the flag -f / });
});

test('help is what is wanted wherever it is asked for, whatever else is wrong', () => {
  for (const argv of [['-h'], ['--help'], ['a', '-json', '-help'], ['-zork', '-h'], ['-o', '-h'], ['-f', '--h']]) {
    assert.equal(parseArgs('restore', SPECS, argv), 'help', argv.join(' '));
  }
  assert.notEqual(parseArgs('restore', SPECS, ['--', '-h']), 'help');
});

test('any arguments come back the same, in whatever order and spelling they are given', () => {
  const word = fc.string({ maxLength: 10 });
  const plain = word.filter((text) => !text.startsWith('-'));
  const dashes = fc.constantFrom('-', '--');
  const part = fc.oneof(
    fc.record({ kind: fc.constant('positional' as const), value: plain }),
    fc.record({ kind: fc.constant('value' as const), name: fc.constantFrom('config', 'o'), value: word, dashes }),
    fc.record({ kind: fc.constant('beside' as const), name: fc.constantFrom('config', 'o'), value: plain, dashes }),
    fc.record({
      kind: fc.constant('switch' as const),
      name: fc.constantFrom('json', 'force'),
      value: fc.boolean(),
      dashes,
    }),
  );
  fc.assert(
    fc.property(fc.array(part), fc.array(word), (parts, rest) => {
      const argv: string[] = [];
      const positionals: string[] = [];
      const flags: Record<string, unknown> = { ...NONE };
      for (const given of parts) {
        if (given.kind === 'positional') argv.push(given.value);
        else if (given.kind === 'beside') argv.push(given.dashes + given.name, given.value);
        else argv.push(`${given.dashes}${given.name}=${given.value}`);
        if (given.kind === 'positional') positionals.push(given.value);
        else flags[given.name] = given.value;
      }
      const parsed = parse(...argv, '--', ...rest);
      assert.deepEqual(parsed, { flags, positionals: [...positionals, ...rest] });
    }),
  );
});
