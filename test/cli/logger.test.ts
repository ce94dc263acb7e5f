import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LogLevel } from '../../src/base/log.ts';
import { createLogger } from '../../src/cli/logger.ts';
import type { LogType } from '../../src/config/log-type.ts';

process.env.TZ = 'UTC';

function logged(type: LogType, level: LogLevel = 'info', isTTY = false) {
  const lines: string[] = [];
  const target = { isTTY, write: (text: string) => lines.push(text) };
  const now = () => new Date(Date.UTC(2026, 0, 2, 15, 4, 5, 42));
  return { lines, logger: createLogger({ level, type, target, now }) };
}

test('text lines are those of Go and Litestream', () => {
  const { lines, logger } = logged('text');
  logger.log('info', 'litestream', { version: '0.5.17' });
  logger.with({ db: 'a b.db' }).log('warn', 'initialized db', { txid: 7n, ok: true, none: undefined, q: '"', e: '' });
  assert.deepEqual(lines, [
    'time=2026-01-02T15:04:05.042Z level=INFO msg=litestream version=0.5.17\n',
    'time=2026-01-02T15:04:05.042Z level=WARN msg="initialized db" db="a b.db" txid=7 ok=true q="\\"" e=""\n',
  ]);
});

test('JSON lines are JSON, whatever is in them', () => {
  const { lines, logger } = logged('json', 'trace');
  logger.with({ db: 'x' }).log('trace', 'a "b"', { big: 2n ** 64n, nothing: undefined });
  assert.equal(
    lines[0],
    '{"time":"2026-01-02T15:04:05.042Z","level":"TRACE","msg":"a \\"b\\"","db":"x","big":18446744073709551616}\n',
  );
  fc.assert(
    fc.property(
      fc.string(),
      fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean())),
      (msg, fields) => {
        const one = logged('json');
        one.logger.log('info', msg, fields);
        assert.equal(JSON.parse(one.lines.join('')).msg, Object.hasOwn(fields, 'msg') ? fields.msg : msg);
      },
    ),
  );
});

test('a message is one line, whatever is in it', () => {
  for (const type of ['text', 'json', 'pretty'] as const) {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'a \n\r"\\=\u2028\u0000') }), (text) => {
        const { lines, logger } = logged(type);
        logger.log('error', text, { [text]: text });
        assert.equal(lines.length, 1);
        assert.match(lines[0] ?? '', /^[^\n\r]*\n$/);
      }),
    );
  }
});

test('levels below the chosen one are not written', () => {
  const { lines, logger } = logged('text', 'warn');
  for (const level of ['trace', 'debug', 'info', 'warn', 'error'] as const) logger.log(level, level);
  assert.deepEqual(
    lines.map((line) => /level=(\w+)/.exec(line)?.[1]),
    ['WARN', 'ERROR'],
  );
});

test('pretty lines have colours on a terminal, and none where NO_COLOR is set', () => {
  const before = process.env.NO_COLOR;
  delete process.env.NO_COLOR;
  const onTerminal = logged('pretty', 'info', true);
  onTerminal.logger.log('info', 'ready', { n: 1 });
  assert.equal(onTerminal.lines[0], '15:04:05 \x1b[32mINFO \x1b[0m ready n=1\n');
  process.env.NO_COLOR = '1';
  const without = logged('pretty', 'info', true);
  without.logger.log('info', 'ready');
  assert.equal(without.lines[0], '15:04:05 INFO  ready\n');
  if (before === undefined) delete process.env.NO_COLOR;
  else process.env.NO_COLOR = before;
});
