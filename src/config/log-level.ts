import type { LogLevel } from '../base/log.ts';

export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error'];

/** Reads a level's name in any case (`warning` too); undefined for anything else. */
export function parseLogLevel(text: string): LogLevel | undefined {
  const name = text.toLowerCase();
  return name === 'warning' ? 'warn' : LOG_LEVELS.find((level) => level === name);
}
