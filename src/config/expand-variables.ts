/** A reference to a variable that has no value, or that is not written as one. */
export class VariableError extends Error {
  override readonly name = 'VariableError';
  /** The reference as far as it was read, to find its place in the source. */
  readonly reference: string;
  readonly next: string;

  constructor(reference: string, message: string, next: string) {
    super(message);
    this.reference = reference;
    this.next = next;
  }
}

export type Variables = Readonly<Record<string, string | undefined>>;

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
/** Defaults may hold references with defaults of their own; nobody needs more of them than this. */
const MAX_NESTING = 16;

/**
 * Replaces `$NAME`, `${NAME}`, `${NAME:-default}` (where unset or empty) and `${NAME:?message}` (an error where unset or
 * empty); `$$` is a dollar sign. `$PID` is this process, as in Litestream. An unset variable is an error.
 */
export function expandVariables(text: string, variables: Variables, nesting = 0): string {
  return expandParts(text, variables, nesting).join('');
}

/** Stands for what a reference with an empty value leaves; no path can hold it. */
const GONE = '\0';

/** Whether a part of the path (or of the URL's path) in `text` is empty because of variables that are: `app/$NAME`. */
export function emptiesPart(text: string, variables: Variables): boolean {
  const marked = expandParts(text, variables, 0).map((part, i) => (i % 2 === 1 && part === '' ? GONE : part));
  return /(^|\/)\0+([/?]|$)/.test(marked.join(''));
}

/** Text and the values of references in turn, beginning and ending with text. */
function expandParts(text: string, variables: Variables, nesting: number): string[] {
  const parts: string[] = [];
  let at = 0;
  for (let dollar = text.indexOf('$'); dollar >= 0; dollar = text.indexOf('$', at)) {
    const { value, end } = expandOne(text, dollar, variables, nesting);
    parts.push(text.slice(at, dollar), value);
    at = end;
  }
  return [...parts, text.slice(at)];
}

interface Expanded {
  readonly value: string;
  /** Where the text goes on. */
  readonly end: number;
}

function expandOne(text: string, dollar: number, variables: Variables, nesting: number): Expanded {
  const next = text[dollar + 1];
  if (next === '$') return { value: '$', end: dollar + 2 };
  if (next === '{') return expandBraced(text, dollar, variables, nesting);
  const name = nameAt(text, dollar + 1);
  if (name === '') {
    const reference = text.slice(dollar, dollar + 2);
    throw new VariableError(reference, `"${reference}" is not a variable`, 'write $$ for a dollar sign');
  }
  return { value: lookUp(name, `$${name}`, variables), end: dollar + 1 + name.length };
}

function expandBraced(text: string, dollar: number, variables: Variables, nesting: number): Expanded {
  const end = closingBrace(text, dollar + 2);
  if (end < 0 || nesting === MAX_NESTING) {
    const why = end < 0 ? 'has no closing brace' : `is nested more than ${MAX_NESTING} deep`;
    throw new VariableError('${', `a reference "\${" ${why}`, 'write $$ for a dollar sign');
  }
  const reference = text.slice(dollar, end + 1);
  const name = nameAt(text, dollar + 2);
  const rest = text.slice(dollar + 2 + name.length, end);
  if (name !== '' && rest === '') return { value: lookUp(name, reference, variables), end: end + 1 };
  if (name !== '' && rest.startsWith(':-')) {
    const value = variables[name] || expandVariables(rest.slice(2), variables, nesting + 1);
    return { value, end: end + 1 };
  }
  if (name !== '' && rest.startsWith(':?')) {
    const value = variables[name];
    if (value) return { value, end: end + 1 };
    const message = rest.slice(2) || 'it must have a value';
    throw new VariableError(reference, `variable ${name} is unset or empty: ${message}`, `set ${name}`);
  }
  // What it holds is not quoted: it may be a part of a password.
  throw new VariableError(
    reference,
    `a reference "\${" is not written as one`,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it shows what to write
    'write ${NAME}, ${NAME:-default} or ${NAME:?message}; $$ for a dollar sign',
  );
}

function nameAt(text: string, index: number): string {
  NAME.lastIndex = index;
  return NAME.exec(text)?.[0] ?? '';
}

function lookUp(name: string, reference: string, variables: Variables): string {
  const value = variables[name] ?? (name === 'PID' ? String(process.pid) : undefined);
  if (value !== undefined) return value;
  throw new VariableError(
    reference,
    `variable ${name} is not set`,
    `set ${name}, or give it a default: \${${name}:-default}`,
  );
}

/** The brace that closes the one before `index`; those of references inside are passed over. -1 when there is none. */
function closingBrace(text: string, index: number): number {
  let open = 1;
  for (let i = index; i < text.length; i++) {
    if (text[i] === '$' && text[i + 1] === '{') open++;
    else if (text[i] === '}' && --open === 0) return i;
  }
  return -1;
}
