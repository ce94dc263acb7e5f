import { between, type Random } from '../support/writers.ts';

/** Part of the messages that take a while, and how long at most, ms. */
const SLOW = { part: 0.2, mostMs: 30 } as const;

/** Messages from one thread to another: they arrive in order, each some time after it was sent. */
export class MessageLine {
  readonly #random: Random;
  #last: Promise<void> = Promise.resolve();

  constructor(random: Random) {
    this.#random = random;
  }

  send(arrive: () => unknown): void {
    const ms = this.#random() < SLOW.part ? between(this.#random, 1, SLOW.mostMs) : 0;
    const arrived = this.#last.then(() =>
      ms > 0 ? new Promise<void>((resolve) => setTimeout(resolve, ms)) : undefined,
    );
    this.#last = arrived.then(() => void arrive());
    this.#last.catch(() => undefined); // of who is dead by now
  }
}
