const HIDDEN = '(hidden)';
/** What `util.inspect.custom` is; that module takes a while to load. */
const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom');

/** A text that must not be printed: every way of turning it into text gives a mask. Only `reveal()` gives the text. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [INSPECT](): string {
    return HIDDEN;
  }
}
