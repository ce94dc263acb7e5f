import { RivuletError } from '../base/errors.ts';

/**
 * Splits a command line into words as a shell does, without running one: blanks separate, single quotes keep everything,
 * double quotes and backslashes work as in POSIX. No variables, no globs, no operators.
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: "'" | '"' | undefined;
  for (let i = 0; i < line.length; i++) {
    const char = line.charAt(i);
    if (quote === "'") {
      if (char === "'") quote = undefined;
      else word += char;
    } else if (char === '\\' && i + 1 < line.length) {
      const next = line.charAt(++i);
      // Inside double quotes a backslash is special only before these.
      word = (word ?? '') + (quote === '"' && !'$`"\\\n'.includes(next) ? `\\${next}` : next === '\n' ? '' : next);
    } else if (quote === '"') {
      if (char === '"') quote = undefined;
      else word += char;
    } else if (char === "'" || char === '"') {
      quote = char;
      word ??= '';
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote) {
    throw new RivuletError({ code: 'EXEC_UNREADABLE', message: `a ${quote} is not closed in the command: ${line}` });
  }
  if (word !== undefined) words.push(word);
  return words;
}
