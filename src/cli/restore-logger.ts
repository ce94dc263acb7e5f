import type { Logger } from '../base/log.ts';
import { parseLogLevel } from '../config/log-level.ts';
import { createLogger } from './logger.ts';

/** Text to stdout, as Litestream's restore does; to stderr where stdout is for JSON. */
export function loggerForRestore(flags: { readonly json: boolean; readonly v: boolean }): Logger {
  const level = parseLogLevel(process.env.LOG_LEVEL ?? '') ?? (flags.v ? 'debug' : 'info');
  return createLogger({ level, type: 'text', target: flags.json ? process.stderr : process.stdout });
}
