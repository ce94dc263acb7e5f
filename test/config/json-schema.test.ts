import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { LITESTREAM_FILES } from './litestream-files.ts';

/** The part of JSON Schema that ours is made of. Another keyword is an error, so that none is passed over. */
const Node = z.strictObject({
  type: z.union([z.string(), z.array(z.string())]).optional(),
  enum: z.array(z.unknown()).optional(),
  pattern: z.string().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  maxItems: z.number().optional(),
  required: z.array(z.string()).optional(),
  additionalProperties: z.literal(false).optional(),
  get properties() {
    return z.record(z.string(), Node).optional();
  },
  get items() {
    return Node.optional();
  },
  get anyOf() {
    return z.array(Node).optional();
  },
  $schema: z.string().optional(),
  title: z.string().optional(),
  description: z.string().optional(),
  deprecated: z.boolean().optional(),
});
type Node = z.infer<typeof Node>;

function typeOf(value: unknown): string[] {
  if (value === null) return ['null'];
  if (Array.isArray(value)) return ['array'];
  return Number.isInteger(value) ? ['integer', 'number'] : [typeof value];
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function accepts(node: Node, value: unknown): boolean {
  const types = typeof node.type === 'string' ? [node.type] : node.type;
  if (types && !typeOf(value).some((type) => types.includes(type))) return false;
  if (node.enum && !node.enum.includes(value)) return false;
  if (node.pattern !== undefined && typeof value === 'string' && !new RegExp(node.pattern, 'u').test(value))
    return false;
  if (typeof value === 'number' && (value < (node.minimum ?? value) || value > (node.maximum ?? value))) return false;
  if (node.anyOf && !node.anyOf.some((each) => accepts(each, value))) return false;
  if (Array.isArray(value)) {
    return value.length <= (node.maxItems ?? value.length) && value.every((item) => accepts(node.items ?? {}, item));
  }
  if (!isMap(value)) return true;
  const known = node.properties ?? {};
  return (
    (node.required ?? []).every((key) => key in value) &&
    Object.entries(value).every(([key, item]) => {
      const property = known[key];
      return property ? accepts(property, item) : node.additionalProperties !== false;
    })
  );
}

const schema = Node.parse(configJsonSchema());

test('the schema that is shipped is that of the code (run scripts/build-schema.ts)', () => {
  const shipped = readFileSync(new URL('../../docs/rivulet.schema.json', import.meta.url), 'utf8');
  assert.deepEqual(JSON.parse(shipped), configJsonSchema());
});

test('the schema accepts what is a configuration', () => {
  for (const { name, text } of LITESTREAM_FILES) assert.ok(accepts(schema, parse(text)), name);
  const texts = [
    'dbs: []',
    'logging: {level: debug, type: pretty, stderr: yes}',
    'logging: {level: "$LEVEL", stderr: "$X"}',
    'dbs: [{path: /a, truncate-page-n: "$N", max-spool-bytes: 10MiB, replica: {type: "$T", root-cas: [/a, /b]}}]',
    'dbs: [{path: /a, replica: {path: /r, sync-interval: 1m30.5s, upload-limit: 10MiB/s, part-size: 5242880}}]',
    'shutdown-sync-timeout: 0',
  ];
  for (const text of texts) assert.ok(accepts(schema, parse(text)), text);
});

test('the schema refuses what is none', () => {
  const texts = [
    'dbz: []',
    'dbs: {}',
    'dbs: [{path: /a, replica: {pth: /r}}]',
    'dbs: [{path: /a, replica: {type: s4}}]',
    'dbs: [{path: /a, replica: {concurrency: 0}}]',
    'dbs: [{path: /a, replica: {part-size: large}}]',
    'dbs: [{path: /a, set-wal: perhaps}]',
    'dbs: [{dir: /d}]',
    'age: {}',
    'sync-interval: soon',
    'logging: {level: loud}',
    'levels: [{}]',
    'heartbeat-url: example.com',
    `levels: [${Array(9).fill('{interval: 1s}').join(', ')}]`,
  ];
  for (const text of texts) assert.ok(!accepts(schema, parse(text)), text);
});

test('every key has a description', () => {
  const without = (node: Node, path: string): string[] => [
    ...Object.entries(node.properties ?? {}).flatMap(([key, property]) => [
      ...(property.description ? [] : [`${path}.${key}`]),
      ...without(property, `${path}.${key}`),
    ]),
    ...(node.items?.properties ? without(node.items, `${path}[]`) : []),
  ];
  assert.deepEqual(without(schema, ''), []);
});
