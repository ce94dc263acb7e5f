const TRUE = /^(true|yes|on|y|t|1)$/i;
const FALSE = /^(false|no|off|n|f|0)$/i;

/** Reads a switch: `true`, `yes`, `on` and such. Undefined for anything else. */
export function parseFlag(text: string): boolean | undefined {
  return TRUE.test(text) ? true : FALSE.test(text) ? false : undefined;
}
