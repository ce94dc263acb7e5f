import { stampOfOpen } from '../base/database-files.ts';

/**
 * Who wrote to a database file last: a checkpoint of ours, or somebody else. That can be a checkpoint of the application, while our read
 * lets it; or nothing that SQLite knows of.
 */
export class FileStamp {
  readonly #fd: number;
  #known: string;
  #isDoubtful = false;
  /** Times that somebody else was found to have written to it. */
  foreignWrites = 0;

  constructor(databaseFd: number) {
    this.#fd = databaseFd;
    this.#known = stampOfOpen(databaseFd);
  }

  /** Somebody else wrote to it since it was {@link trust}ed. */
  get isDoubtful(): boolean {
    return this.#isDoubtful || stampOfOpen(this.#fd) !== this.#known;
  }

  /** True when somebody else wrote to it since the last look, or checkpoint of ours. */
  look(): boolean {
    const stamp = stampOfOpen(this.#fd);
    if (stamp === this.#known) return false;
    this.#known = stamp;
    this.#isDoubtful = true;
    this.foreignWrites++;
    return true;
  }

  /** Before and after a checkpoint of ours. */
  writing(): Disposable {
    this.look();
    return { [Symbol.dispose]: () => (this.#known = stampOfOpen(this.#fd)) };
  }

  /** It is what it should be, as of the last look. */
  trust(): void {
    this.#isDoubtful = false;
  }
}
