const SHUTDOWN: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
/** Handed on to a child without ending anything. */
const FORWARDED: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGQUIT', 'SIGUSR2'];

/** The first SIGINT or SIGTERM asks for a shutdown, the second gives up waiting for it. */
export class ShutdownSignals {
  readonly first = new AbortController();
  readonly second = new AbortController();
  readonly asked: Promise<NodeJS.Signals>;
  readonly gaveUp: Promise<void>;
  signal: NodeJS.Signals = 'SIGTERM';
  readonly #handlers = new Map<NodeJS.Signals, () => void>();
  #forward: ((signal: NodeJS.Signals) => void) | undefined;

  constructor() {
    this.asked = new Promise((resolve) => {
      this.first.signal.addEventListener('abort', () => resolve(this.signal), { once: true });
    });
    this.gaveUp = new Promise((resolve) => {
      this.second.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    for (const signal of SHUTDOWN) this.#listen(signal, () => this.#shutdown(signal));
    // Without a listener, this one opens Node's debugger.
    this.#listen('SIGUSR1', () => this.#forward?.('SIGUSR1'));
  }

  /** Calls `forward` for every signal from now on, those included that end nothing here. */
  onEvery(forward: (signal: NodeJS.Signals) => void): void {
    this.#forward = forward;
    for (const signal of FORWARDED) this.#listen(signal, () => forward(signal));
    // A shutdown that was asked for before the child was there is for the child, too.
    if (this.first.signal.aborted) forward(this.signal);
  }

  [Symbol.dispose](): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }

  #shutdown(signal: NodeJS.Signals): void {
    this.#forward?.(signal);
    if (this.first.signal.aborted) {
      this.second.abort();
      return;
    }
    this.signal = signal;
    this.first.abort();
  }

  #listen(signal: NodeJS.Signals, handler: () => void): void {
    this.#handlers.set(signal, handler);
    process.on(signal, handler);
  }
}
