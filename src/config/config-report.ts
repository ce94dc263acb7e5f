import { RivuletError } from '../base/errors.ts';
import { ConfigError, type Place } from './config-error.ts';
import type { Path, YamlTree } from './yaml-tree.ts';

/** What is to be said of one configuration file, with the places in it. */
export class ConfigReport {
  readonly path: string;
  readonly tree: YamlTree;
  readonly #warnings: (Place & { readonly message: string })[] = [];

  constructor(path: string, tree: YamlTree) {
    this.path = path;
    this.tree = tree;
  }

  /** The warnings up to now, in the order of the file. */
  get warnings(): string[] {
    return [...this.#warnings]
      .sort((a, b) => a.line - b.line || a.column - b.column)
      .map(({ line, column, message }) => `${this.path}:${line}:${column}: ${message}`);
  }

  warn(path: Path, message: string): void {
    this.#warnings.push({ ...this.tree.placeOfKey(path), message });
  }

  /** Warns of each key of a section that there is a reason for, unless it is switched off. */
  warnOfAll(reasons: Readonly<Record<string, string>>, section: object, where: Path, prefix = ''): void {
    for (const [key, value] of Object.entries(section)) {
      const reason = Object.hasOwn(reasons, key) ? reasons[key] : undefined;
      const isOff = value === undefined || value === false || value === '';
      if (reason && !isOff) this.warn([...where, key], `${prefix}${key}: ${reason}`);
    }
  }

  /** Refuses the value at `path`. */
  fail(path: Path, message: string, next?: string): never {
    this.failAt(this.tree.placeOf(path), message, next);
  }

  failAt(place: Place, message: string, next?: string): never {
    throw new ConfigError(this.path, [{ ...place, code: 'CONFIG_VALUE', message, next }]);
  }

  /** Runs a check that knows nothing of the file; what it throws comes out with its place. */
  located<T>(check: () => T, placeOf: (error: RivuletError) => Place): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof RivuletError)) throw error;
      const { code, message, next } = error;
      throw new ConfigError(this.path, [{ ...placeOf(error), code, message, next }]);
    }
  }
}
