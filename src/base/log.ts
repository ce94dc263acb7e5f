export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, string | number | boolean | bigint | undefined>>;

/** Where the parts of Rivulet say what they do. `with` adds fields to every line. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  with(fields: LogFields): Logger;
}

/** Says nothing: the default of library calls. */
export const silentLogger: Logger = {
  log() {},
  with() {
    return silentLogger;
  },
};
