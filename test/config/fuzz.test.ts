import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { RivuletError } from '../../src/base/errors.ts';
import type { Config } from '../../src/config/config.ts';
import { configYaml } from '../../src/config/describe-config.ts';
import { expandVariables, VariableError, type Variables } from '../../src/config/expand-variables.ts';
import { parseConfig } from '../../src/config/load-config.ts';
import { parseReplicaUrl } from '../../src/config/replica-url.ts';
import { sectionAt } from '../../src/config/schema.ts';
import { LITESTREAM_FILES } from './litestream-files.ts';

const ENV = { ENVIRONMENT: 'prod', EMPTY: '', DB_PATH: '/x', BUCKET_NAME: 'bkt' };

/** The configuration, or the error that says what is wrong with it; anything else that is thrown is a defect. */
function load(text: string, env: Variables = ENV): Config | RivuletError {
  try {
    return parseConfig(text, 'c.yml', { env });
  } catch (error) {
    if (error instanceof RivuletError) return error;
    throw error;
  }
}

/** Everything that could be printed of a result. */
function everythingPrinted(result: Config | RivuletError): string {
  const texts = [String(result), JSON.stringify(result), inspect(result, { depth: 20, showHidden: true })];
  if (result instanceof RivuletError) texts.push(result.message, result.kept ?? '', result.next ?? '');
  else texts.push(configYaml(result), ...result.warnings);
  return texts.join('\n');
}

const KEYS = [[], ['dbs', 0], ['dbs', 0, 'replica'], ['logging'], ['snapshot'], ['socket']].flatMap((path) => {
  const { built, unbuilt } = sectionAt(path);
  return [...built, ...unbuilt];
});
const scalar = fc.oneof(
  fc.constantFrom(
    '1s',
    '5MiB',
    '/a',
    '/r/x',
    's3',
    'file',
    's3://bkt/p',
    's3://b/p?region=r',
    'file:///r',
    '$ENVIRONMENT',
  ),
  fc.constantFrom(
    '',
    '$EMPTY',
    '$',
    '$NONE',
    '24h',
    '*x',
    '&a',
    '!t',
    'http://h:1',
    'arn:aws:s3:r:1:accesspoint/n',
    '\0',
  ),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string(),
);
const key = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...KEYS) }, { weight: 1, arbitrary: fc.string() });
const garbage = fc.oneof(scalar, fc.array(scalar, { maxLength: 3 }), fc.dictionary(key, scalar, { maxKeys: 3 }));

/** A map of known keys whose values are mostly of no use. */
const section = (path: readonly (string | number)[]) =>
  fc.dictionary(fc.constantFrom(...sectionAt(path).built), garbage, { maxKeys: 6 });
const replica = fc
  .tuple(
    section(['dbs', 0, 'replica']),
    fc.constantFrom({}, { path: '/r' }, { url: 's3://bkt/p' }, { type: 's3', bucket: 'bkt', path: 'p' }),
  )
  .map(([some, base]) => ({ ...some, ...base }));
const tree = fc
  .tuple(section([]), section(['dbs', 0]), fc.array(replica, { minLength: 1, maxLength: 2 }))
  .map(([top, database, replicas]) => ({
    ...top,
    dbs: replicas.map((each, i) => ({ ...database, path: `/db${i}`, replica: each, replicas: undefined })),
  }));

/** A real configuration with parts cut out, doubled or replaced. */
const mutated = fc
  .tuple(
    fc.constantFrom(...LITESTREAM_FILES.map(({ text }) => text)),
    fc.array(
      fc.tuple(
        fc.nat(1000),
        fc.nat(30),
        fc.oneof(
          fc.constantFrom('', ':', '\n', '  ', '- ', '"', '$', '{', '*', '&', '|', '#', '\t', '%', '@'),
          fc.string(),
        ),
      ),
      {
        minLength: 1,
        maxLength: 4,
      },
    ),
  )
  .map(([text, edits]) =>
    edits.reduce((edited, [at, length, insert]) => {
      const start = at % (edited.length + 1);
      return edited.slice(0, start) + insert + edited.slice(start + length);
    }, text),
  );

test('any text, tree and half-broken configuration is read or refused in a sentence', () => {
  const text = fc.oneof(fc.string(), garbage.map(toYaml), tree.map(toYaml), mutated);
  let read = 0;
  fc.assert(
    fc.property(text, (source) => {
      const result = load(source);
      if (!(result instanceof RivuletError)) read++;
      everythingPrinted(result);
    }),
    { numRuns: 3000 },
  );
  assert.ok(read > 100, `only ${read} of them were read: the others prove little`);
});

function toYaml(value: unknown): string {
  return stringify(value);
}

const alphanumeric = fc.string({
  unit: fc.constantFrom(...'abcdefghijkmnpqrstuvwxyz23456789'),
  minLength: 12,
  maxLength: 20,
});
/** A password, often with what YAML or the expansion of variables could take for theirs. */
const password = fc
  .tuple(
    fc.constantFrom(
      '',
      '$',
      '${',
      '$$',
      '*',
      '&',
      '!',
      '%',
      '@',
      '"',
      "'",
      '|',
      '>',
      ': ',
      '#',
      '\\',
      '`',
      '[',
      '/',
      '&a=',
      'a:',
      '?',
    ),
    alphanumeric,
  )
  .map(([start, rest]) => ({ written: start + rest, core: rest }));

const PLACES: readonly ((secret: string) => string)[] = [
  (secret) => `secret-access-key: ${secret}\naccess-key-id: x\ndbs: [{path: /a, replica: {url: "s3://b/p"}}]`,
  (secret) => `session-token: "${secret}"\ndbs: [{path: /a, replica: {url: "s3://b/p"}}]`,
  (secret) => `dbs:\n  - path: /a\n    replica:\n      url: s3://b/p\n      sse-customer-key: ${secret}`,
  (secret) => `dbs:\n  - path: /a\n    replica:\n      url: s3://b/p?sseCustomerKey=${secret}`,
  (secret) => `dbs:\n  - path: /a\n    replica:\n      url: s3://x:${secret}@b/p`,
  (secret) =>
    `dbs:\n  - path: /a\n    replica:\n      type: s3\n      bucket: b\n      endpoint: https://x:${secret}@h`,
  (secret) => `dbs:\n  - path: /a\n    replica:\n      path: /r\n      account-key: ${secret}`,
  (secret) => `dbs:\n  - path: /a\n    replica:\n      type: gs\n      password: [${secret}]`,
];

test('a secret never comes out of a configuration, wherever it stands and whatever is wrong', () => {
  const place = fc.constantFrom(...PLACES);
  const tail = fc.oneof(
    fc.constant(''),
    fc.constantFrom('\nzork: 1', '\nx: [', '\n- a', '\n\tb', '\nexec: $NONE', ' x', ': y'),
  );
  fc.assert(
    fc.property(place, password, tail, (write, { written, core }, rest) => {
      const printed = everythingPrinted(load(write(written) + rest));
      assert.ok(!printed.includes(core), printed);
    }),
    { numRuns: 3000 },
  );
});

test('any text is a replica URL or refused in a sentence', () => {
  const url = fc.oneof(
    fc.string(),
    fc.string().map((rest) => `s3://${rest}`),
    fc.string({ unit: fc.constantFrom(...'b./?&=%#@:a0[]'), maxLength: 30 }).map((rest) => `s3://${rest}`),
    fc.string({ unit: fc.constantFrom(...'b./?&=%#@:a0[]'), maxLength: 30 }).map((rest) => `s3://b/p?endpoint=${rest}`),
    fc.string().map((rest) => `file:///${rest}`),
  );
  fc.assert(
    fc.property(url, (text) => {
      try {
        const location = parseReplicaUrl(text);
        // Its own spelling leads to the same place.
        const again = parseReplicaUrl(location.url);
        assert.equal(again.url, location.url);
        if (location.type === 's3') assert.ok(again.type === 's3' && again.keyPrefix === location.keyPrefix);
      } catch (error) {
        if (!(error instanceof RivuletError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});

test('what an empty variable leaves in a path is the empty text, marked or not', () => {
  const text = fc.string({ unit: fc.constantFrom('$EMPTY', '$A', `\${EMPTY:-}`, '/', 'x', '$$', '?'), maxLength: 8 });
  fc.assert(
    fc.property(text, (path) => {
      const source = `dbs: [{path: /a, replica: {type: s3, bucket: b, path: "${path}"}}]`;
      const result = load(source, { ...ENV, A: 'a' });
      let expanded: string;
      try {
        expanded = expandVariables(path, { EMPTY: '', A: 'a' });
      } catch (error) {
        assert.ok(error instanceof VariableError);
        return;
      }
      if (result instanceof RivuletError) return;
      const [replicaOf] = result.dbs.map((database) => database.replica);
      assert.ok(replicaOf?.type === 's3' && replicaOf.keyPrefix === `${expanded}/`);
      // What was accepted has the slashes at its ends in the source, too, and none doubled.
      assert.ok(!expanded.includes('//'));
      assert.equal(expanded.startsWith('/'), path.startsWith('/'), path);
      assert.equal(expanded.endsWith('/'), path.endsWith('/'), path);
    }),
  );
});
