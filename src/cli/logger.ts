import type { LogFields, Logger, LogLevel } from '../base/log.ts';
import type { LoggingConfig } from '../config/config.ts';
import { LOG_LEVELS, parseLogLevel } from '../config/log-level.ts';
import type { LogType } from '../config/log-type.ts';
import { usesColour } from './terminal.ts';

export interface LogTarget {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
}

export interface LoggerOptions {
  /** Least level that is written. */
  readonly level: LogLevel;
  readonly type: LogType;
  readonly target: LogTarget;
  /** Default: the clock. */
  readonly now?: () => Date;
}

/** A logger that writes one line for each message, in the formats of Go's slog, as Litestream does. */
export function createLogger(options: LoggerOptions): Logger {
  return new LineLogger(options, {});
}

/** The logger that a configuration asks for; `flag` is -log-level's value and wins over LOG_LEVEL, which wins over the configuration. */
export function loggerFor(logging: LoggingConfig, flag?: LogLevel): Logger {
  // LOG_LEVEL is often meant for another program, with words of its own: those are passed over.
  const level = flag ?? parseLogLevel(process.env.LOG_LEVEL ?? '') ?? logging.level;
  return createLogger({ level, type: logging.type, target: logging.stderr ? process.stderr : process.stdout });
}

type Format = (time: Date, level: LogLevel, message: string, fields: LogFields) => string;

class LineLogger implements Logger {
  readonly #options: LoggerOptions;
  readonly #fields: LogFields;
  readonly #format: Format;

  constructor(options: LoggerOptions, fields: LogFields) {
    this.#options = options;
    this.#fields = fields;
    this.#format = { text: textLine, json: jsonLine, pretty: prettyLine(usesColour(options.target)) }[options.type];
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    const { level: least, target, now } = this.#options;
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(least)) return;
    target.write(`${this.#format(now?.() ?? new Date(), level, message, { ...this.#fields, ...fields })}\n`);
  }

  with(fields: LogFields): Logger {
    return new LineLogger(this.#options, { ...this.#fields, ...fields });
  }
}

function textLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  return `time=${localTime(time)} level=${level.toUpperCase()} msg=${quoted(message)}${pairs(fields)}`;
}

function jsonLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const head = JSON.stringify({ time: localTime(time), level: level.toUpperCase(), msg: message }).slice(0, -1);
  const rest = given(fields).map(([key, value]) => {
    // JSON has integers of any size; JSON.stringify only refuses to write them.
    return `,${JSON.stringify(key)}:${typeof value === 'bigint' ? value : JSON.stringify(value)}`;
  });
  return `${head}${rest.join('')}}`;
}

const COLOURS: Readonly<Record<LogLevel, string>> = {
  trace: '\x1b[90m',
  debug: '\x1b[90m',
  info: '\x1b[32m',
  warn: '\x1b[33m',
  error: '\x1b[31m',
};

function prettyLine(colour: boolean): Format {
  return (time, level, message, fields) => {
    const name = level.toUpperCase().padEnd(5);
    const shown = colour ? `${COLOURS[level]}${name}\x1b[0m` : name;
    return `${localTime(time).slice(11, 19)} ${shown} ${printable(message)}${pairs(fields)}`;
  };
}

type GivenField = readonly [string, string | number | boolean | bigint];

function given(fields: LogFields): GivenField[] {
  return Object.entries(fields).filter((entry): entry is [string, GivenField[1]] => entry[1] !== undefined);
}

function pairs(fields: LogFields): string {
  return given(fields)
    .map(([key, value]) => ` ${quoted(key)}=${quoted(String(value))}`)
    .join('');
}

/** Quotes what could be taken for more than one word, as slog does. */
function quoted(text: string): string {
  return /^[^\s"=\p{C}]+$/u.test(text) ? text : printable(JSON.stringify(text));
}

/** A message must stay one line, and must not talk to the terminal. */
function printable(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : escaped;
  });
}

/** RFC 3339 with milliseconds, in the machine's time zone. */
function localTime(time: Date): string {
  const offset = -time.getTimezoneOffset();
  const local = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, -1);
  if (offset === 0) return `${local}Z`;
  const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60];
  return `${local}${offset < 0 ? '-' : '+'}${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`;
}
