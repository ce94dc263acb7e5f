/*
 * Finds what a TypeScript module imports, by its tokens. TypeScript 7 has no API for JavaScript, and a pattern alone would
 * trip over comments, strings and templates that look like imports.
 */

export interface Token {
  readonly kind: 'word' | 'string' | 'sign';
  /** The word, the sign, or what is between the quotes. */
  readonly text: string;
  readonly line: number;
}

/**
 * - `static`: `import` and `export … from`. `type`: the same with `type`, erased before it runs.
 * - `dynamic`: `import(…)`. `url`: `new URL('./x.ts', import.meta.url)`, as worker threads are started.
 * - `hidden`: a module that cannot be told from the text: `import(variable)`, `require`.
 */
export type ImportKind = 'static' | 'type' | 'dynamic' | 'url' | 'hidden';

export interface ModuleImport {
  readonly kind: ImportKind;
  /** What is imported, as it is written; for `hidden`, the word that hides it. */
  readonly specifier: string;
  /** What is taken from it by name; `*` for all of it (a namespace, a default, `import(…)`). Types are left out. */
  readonly names: readonly string[];
  /** What a namespace (`* as fs`) is called in the module. */
  readonly namespace?: string;
  readonly line: number;
}

const WORD = /[\p{ID_Start}$_#@\d][\p{ID_Continue}$]*/uy;
const REGEXP = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/y;
const STRING = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/suy;
const SPACE = /(?:\s+|\/\/[^\n]*|\/\*.*?\*\/)+/suy;
const TEMPLATE_TEXT = /(?:\\.|\$(?!\{)|[^\\`$])*/suy;
/** After one of these words a slash opens a regular expression; after any other it divides. */
const BEFORE_VALUE = new Set(['return', 'typeof', 'case', 'in', 'of', 'do', 'else', 'void', 'await', 'yield', 'throw']);
const HIDING_CALLS = new Set(['require']);

/** The tokens of a module, without comments, template text and regular expressions. Throws a SyntaxError. */
export function tokenize(text: string): Token[] {
  return new Lexer(text).tokens();
}

class Lexer {
  readonly #text: string;
  readonly #tokens: Token[] = [];
  /** One counter of open braces for each template literal that we are inside of. */
  readonly #templates: number[] = [];
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  tokens(): Token[] {
    if (this.#text.startsWith('#!')) this.#take(/[^\n]*/y);
    this.#take(SPACE);
    while (this.#at < this.#text.length) {
      this.#next();
      this.#take(SPACE);
    }
    return this.#tokens;
  }

  #next(): void {
    const line = this.#line;
    const char = this.#text.charAt(this.#at);
    if (char === "'" || char === '"') {
      this.#push('string', this.#demand(STRING, 'a string').slice(1, -1), line);
    } else if (char === '`') {
      this.#at++;
      this.#templateText();
    } else if (char === '/' && this.#valueExpected()) {
      this.#demand(REGEXP, 'a regular expression');
      this.#push('word', '/regexp/', line);
    } else {
      const word = this.#take(WORD);
      if (word) this.#push('word', word, line);
      else this.#sign(char, line);
    }
  }

  #sign(char: string, line: number): void {
    this.#at++;
    const depth = this.#templates.length - 1;
    const braces = this.#templates[depth];
    if (char === '}' && braces === 0) {
      this.#templates.pop();
      this.#templateText();
      return;
    }
    if (braces !== undefined && char === '{') this.#templates[depth] = braces + 1;
    if (braces !== undefined && char === '}') this.#templates[depth] = braces - 1;
    this.#push('sign', char, line);
  }

  /** From after the backtick, or after the brace of a substitution, to the next substitution or the end. */
  #templateText(): void {
    this.#take(TEMPLATE_TEXT);
    if (this.#text.startsWith('${', this.#at)) {
      this.#templates.push(0);
      this.#at += 2;
    } else {
      this.#demand(/`/y, 'a template');
      this.#push('word', '`template`', this.#line);
    }
  }

  #valueExpected(): boolean {
    const last = this.#tokens.at(-1);
    if (!last) return true;
    if (last.kind === 'sign') return ![')', ']', '}'].includes(last.text);
    return last.kind === 'word' && BEFORE_VALUE.has(last.text);
  }

  #demand(pattern: RegExp, what: string): string {
    const taken = this.#take(pattern);
    if (taken === '') throw new SyntaxError(`line ${this.#line}: ${what} does not end`);
    return taken;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const taken = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += taken.length;
    for (const char of taken) if (char === '\n') this.#line++;
    return taken;
  }

  #push(kind: Token['kind'], text: string, line: number): void {
    this.#tokens.push({ kind, text, line });
  }
}

/** Everything that a module imports, in the order of its text. */
export function importsOf(tokens: readonly Token[]): ModuleImport[] {
  const found: ModuleImport[] = [];
  tokens.forEach((token, index) => {
    if (token.kind !== 'word' || isSign(tokens[index - 1], '.')) return;
    const imported = importAt(tokens, index);
    if (imported) found.push({ ...imported, line: token.line });
  });
  return found;
}

type Found = Omit<ModuleImport, 'line'> | undefined;

const EVERYTHING = ['*'];

function importAt(tokens: readonly Token[], index: number): Found {
  const word = tokens[index]?.text ?? '';
  const next = tokens[index + 1];
  if (word === 'import') {
    if (isSign(next, '(')) return importCall(tokens[index + 2]);
    if (next?.kind === 'string') return { kind: 'static', specifier: next.text, names: [] };
    return isSign(next, '.') || isSign(next, ':') ? undefined : declaration(tokens, index + 1);
  }
  if (word === 'export') {
    const list = tokens[isWord(next, 'type') ? index + 2 : index + 1];
    return isSign(list, '*') || isSign(list, '{') ? declaration(tokens, index + 1) : undefined;
  }
  if (word === 'new') return urlOf(tokens.slice(index + 1, index + 7));
  return HIDING_CALLS.has(word) && isSign(next, '(')
    ? { kind: 'hidden', specifier: word, names: EVERYTHING }
    : undefined;
}

function importCall(argument: Token | undefined): Found {
  return argument?.kind === 'string'
    ? { kind: 'dynamic', specifier: argument.text, names: EVERYTHING }
    : { kind: 'hidden', specifier: 'import', names: EVERYTHING };
}

/** `[type] <names> from '<specifier>'`; undefined for an `export { … }` of the module's own names. */
function declaration(tokens: readonly Token[], start: number): Found {
  const first = tokens[start];
  const isType = isWord(first, 'type') && !isWord(tokens[start + 1], 'from') && !isSign(tokens[start + 1], ',');
  const open = tokens.findIndex((token, i) => i >= start && (isSign(token, '{') || isWord(token, 'from')));
  const close = isSign(tokens[open], '{') ? tokens.findIndex((token, i) => i > open && isSign(token, '}')) : open - 1;
  const target = tokens[close + 2];
  if (!isWord(tokens[close + 1], 'from') || target?.kind !== 'string') return undefined;
  const kind = isType ? 'type' : 'static';
  const list = start + (isType ? 1 : 0);
  if (open === list) return { kind, specifier: target.text, names: namesIn(tokens.slice(open + 1, close)) };
  const namespace = isSign(tokens[list], '*') && open === list + 3 ? tokens[list + 2]?.text : undefined;
  return { kind, specifier: target.text, names: EVERYTHING, ...(namespace && { namespace }) };
}

/**
 * What is taken from a namespace by name, `fs.openSync`; `*` where it is used in another way, by which anything can be meant.
 */
export function membersOf(tokens: readonly Token[], namespace: string): { name: string; line: number }[] {
  return tokens.flatMap((token, index) => {
    const isMember = isSign(tokens[index - 1], '.') && !isSign(tokens[index - 2], '.'); // of something else, and not spread
    if (!isWord(token, namespace) || isMember) return [];
    if (isWord(tokens[index - 1], 'as') && isSign(tokens[index - 2], '*')) return []; // the import
    const member = isSign(tokens[index + 1], '.') ? tokens[index + 2] : undefined;
    return [{ name: member?.kind === 'word' ? member.text : '*', line: token.line }];
  });
}

/** The outside names of `a, b as c, type D`, types left out. */
function namesIn(list: readonly Token[]): string[] {
  const names: string[] = [];
  list.forEach((token, index) => {
    if (index > 0 && !isSign(list[index - 1], ',')) return;
    const next = list[index + 1];
    const isType = isWord(token, 'type') && next?.kind === 'word' && next.text !== 'as';
    if (!isType && token.kind !== 'sign') names.push(token.text);
  });
  return names;
}

/** `new URL('./x.ts', import.meta.url)`: a module only when it names one of ours. */
function urlOf(tokens: readonly Token[]): Found {
  const [url, open, target, comma, imported] = tokens;
  const isUrl = isWord(url, 'URL') && isSign(open, '(') && isSign(comma, ',') && isWord(imported, 'import');
  return isUrl && target?.kind === 'string' && /^\.{1,2}\/.*\.ts$/.test(target.text)
    ? { kind: 'url', specifier: target.text, names: EVERYTHING }
    : undefined;
}

function isSign(token: Token | undefined, text: string): boolean {
  return token?.kind === 'sign' && token.text === text;
}

function isWord(token: Token | undefined, text: string): boolean {
  return token?.kind === 'word' && token.text === text;
}
