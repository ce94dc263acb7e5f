import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
} from 'yaml';
import type { ConfigProblem, Place } from './config-error.ts';
import { emptiesPart, expandVariables, VariableError, type Variables } from './expand-variables.ts';
import { isSecretKey } from './secret-keys.ts';

export type Path = readonly (string | number)[];

/** What a YAML file says, as plain values, and where it says it. A key without a value is there, and undefined. */
export interface YamlTree {
  readonly value: unknown;
  readonly problems: readonly ConfigProblem[];
  /** Where the value at `path` is; of the nearest thing around it when there is none. */
  placeOf(path: Path): Place;
  /** Where the key at the end of `path` is. */
  placeOfKey(path: Path): Place;
  /** Whether the path that is the value at `path` has lost a part to variables that are empty. */
  hasEmptiedPart(path: Path): boolean;
}

/** Aliases can make a small file into a huge tree. No configuration is this large or deep. */
const MAX_NODES = 100_000;
const MAX_DEPTH = 64;
const MERGE = '<<';

/** For errors whose own message quotes the file: what stands there may be a password. */
const SYNTAX_MESSAGES: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: 'a second YAML document begins here (---)',
  BAD_ALIAS: 'this alias (*) has no anchor (&) before it: put text that begins with a star into quotes',
  BAD_DIRECTIVE: 'a YAML directive (%) that is not known: put text that begins with a percent sign into quotes',
  BAD_DQ_ESCAPE: 'a backslash that YAML does not know: write it twice, or put the text into single quotes',
  BAD_PROP_ORDER: 'an anchor (&) or tag (!) in a wrong place',
  BAD_COLLECTION_TYPE: 'a tag (!) that does not fit what it is on',
  TAG_RESOLVE_FAILED: 'an unknown tag (!): put text that begins with an exclamation mark into quotes',
  UNEXPECTED_TOKEN: 'this is not YAML: something is missing before it, or it needs quotes',
};

const HIDDEN_REFERENCE = {
  message: 'a dollar sign that begins no variable that is set',
  next: 'set the variable, or write $$ for a dollar sign',
};

/** Reads YAML. With `variables`, references to them in values are replaced; without, they stay as they are. */
export function readYaml(text: string, variables?: Variables): YamlTree {
  return new TreeReader(text, variables).read();
}

class TreeReader {
  readonly #text: string;
  readonly #variables: Variables | undefined;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #problems: ConfigProblem[] = [];
  readonly #values = new Map<string, Place>();
  readonly #keys = new Map<string, Place>();
  readonly #emptied = new Set<string>();
  #nodeCount = 0;

  constructor(text: string, variables: Variables | undefined) {
    this.#text = text;
    this.#variables = variables;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
  }

  read(): YamlTree {
    for (const error of [...this.#document.errors, ...this.#document.warnings]) {
      this.#problem(error.pos[0], 'CONFIG_SYNTAX', SYNTAX_MESSAGES[error.code] ?? error.message);
    }
    const value = this.#problems.length === 0 ? this.#read(this.#document.contents, []) : undefined;
    return {
      value,
      problems: this.#problems,
      placeOf: (path) => nearestPlace(this.#values, path),
      placeOfKey: (path) => this.#keys.get(keyOf(path)) ?? nearestPlace(this.#values, path),
      hasEmptiedPart: (path) => this.#emptied.has(keyOf(path)),
    };
  }

  #read(node: Node | null | undefined, path: Path): unknown {
    if (node?.range) this.#values.set(keyOf(path), this.#place(node.range[0]));
    if (++this.#nodeCount > MAX_NODES || path.length > MAX_DEPTH) {
      if (this.#nodeCount <= MAX_NODES + 1)
        this.#problem(node?.range?.[0] ?? 0, 'CONFIG_SYNTAX', 'too large or too deep');
      this.#nodeCount = MAX_NODES + 1;
      return undefined;
    }
    if (isAlias(node)) return this.#readAlias(node, path);
    if (isMap<Node, Node | null>(node)) return this.#readMap(node.items, path);
    if (isSeq<Node>(node)) return node.items.map((item, index) => this.#read(item, [...path, index]));
    if (!isScalar(node)) return undefined;
    if (typeof node.value === 'string') return this.#expand(node.value, node.range ?? [0, 0, 0], path);
    // As it is written: a password of digits must not lose some to the precision of a number.
    if (typeof node.value === 'number' && node.source) return node.source;
    if (typeof node.value === 'object' && node.value !== null) {
      this.#problem(node.range?.[0] ?? 0, 'CONFIG_SYNTAX', 'neither text, number nor switch');
      return undefined;
    }
    return node.value ?? undefined;
  }

  #readAlias(alias: Alias, path: Path): unknown {
    const target = alias.resolve(this.#document);
    if (target) return this.#read(target, path);
    this.#problem(alias.range?.[0] ?? 0, 'CONFIG_SYNTAX', SYNTAX_MESSAGES.BAD_ALIAS ?? '');
    return undefined;
  }

  #readMap(pairs: readonly Pair<Node, Node | null>[], path: Path): Record<string, unknown> {
    const merged = this.#readMerged(pairs, path);
    const own: Record<string, unknown> = Object.create(null); // a key named __proto__ must be a key
    for (const { key, value } of pairs) {
      if (!isScalar(key)) {
        this.#problem(key.range?.[0] ?? 0, 'CONFIG_SYNTAX', 'a key must be a word');
      } else if (key.value !== MERGE) {
        const name = String(key.value);
        this.#keys.set(keyOf([...path, name]), this.#place(key.range?.[0] ?? 0));
        own[name] = this.#read(value, [...path, name]);
      }
    }
    for (const [name, value] of merged.flatMap(Object.entries)) if (!(name in own)) own[name] = value;
    return own;
  }

  /** What `<<` brings in: read first, so that the places of the map's own keys and of itself win. */
  #readMerged(pairs: readonly Pair<Node, Node | null>[], path: Path): object[] {
    const place = this.#values.get(keyOf(path));
    const read = pairs
      .filter(({ key }) => isScalar(key) && key.value === MERGE)
      .flatMap(({ value }) => this.#read(value, path));
    if (place) this.#values.set(keyOf(path), place);
    return read.filter((item): item is object => typeof item === 'object' && item !== null);
  }

  #expand(value: string, range: readonly number[], path: Path): string {
    if (!this.#variables) return value;
    try {
      const expanded = expandVariables(value, this.#variables);
      if (emptiesPart(value, this.#variables)) this.#emptied.add(keyOf(path));
      else this.#emptied.delete(keyOf(path));
      return expanded;
    } catch (error) {
      if (!(error instanceof VariableError)) throw error;
      const [start = 0, end = start] = range;
      const found = this.#text.slice(start, end).indexOf(error.reference);
      const { message, next } = mayShow(error, value, path) ? error : HIDDEN_REFERENCE;
      this.#problem(start + Math.max(found, 0), 'CONFIG_VARIABLE', message, next);
      return '';
    }
  }

  #place(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line, column: col };
  }

  #problem(offset: number, code: string, message: string, next?: string): void {
    this.#problems.push({ ...this.#place(offset), code, message, next });
  }
}

/** In a password, what looks like the name of a variable may be a part of it, unless it looks like nothing else. */
function mayShow({ reference }: VariableError, value: string, path: Path): boolean {
  if (/^\$(\{[A-Za-z_]\w*[:}]|[A-Z][A-Z0-9]*_[A-Z0-9_]+$)/.test(reference)) return true;
  const isUrlWithMore = /:\/\/.*[@?]/s.test(value);
  return !isUrlWithMore && !path.some((key) => typeof key === 'string' && isSecretKey(key));
}

function nearestPlace(places: ReadonlyMap<string, Place>, path: Path): Place {
  for (let length = path.length; length >= 0; length--) {
    const place = places.get(keyOf(path.slice(0, length)));
    if (place) return place;
  }
  return { line: 1, column: 1 };
}

function keyOf(path: Path): string {
  return JSON.stringify(path);
}
