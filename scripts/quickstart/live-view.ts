import { formatTxid } from '../../src/base/types.ts';
import { formatSize } from '../../src/cli/format.ts';
import { usesColour } from '../../src/cli/terminal.ts';
import type { Stream } from './stream.ts';

const REDRAW_MS = 100;
const LINE_MS = 1000;
/** The rate shown is that of the last moments. */
const RATE_WINDOW_MS = 2000;

export interface ViewTarget {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Shows a stream while it runs: a block that is redrawn on a terminal, a line a second elsewhere. */
export class LiveView {
  readonly #stream: Stream;
  readonly #target: ViewTarget;
  readonly #startMs = performance.now();
  readonly #draws: boolean;
  readonly #timer: NodeJS.Timeout;
  readonly #samples: { readonly ms: number; readonly commits: number }[] = [];
  #drawnLines = 0;

  constructor(stream: Stream, target: ViewTarget) {
    this.#stream = stream;
    this.#target = target;
    this.#draws = target.isTTY === true && process.env.TERM !== 'dumb';
    this.#timer = setInterval(() => this.#show(), this.#draws ? REDRAW_MS : LINE_MS);
    if (this.#draws) this.#show();
  }

  /** Shows the last state, and leaves it there. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#draws) this.#show();
  }

  #show(): void {
    this.#samples.push({ ms: performance.now(), commits: this.#stream.commits });
    while ((this.#samples[0]?.ms ?? 0) < performance.now() - RATE_WINDOW_MS) this.#samples.shift();
    if (this.#draws) this.#draw();
    else this.#target.write(`${this.#line()}\n`);
  }

  #line(): string {
    const { commits, stored, txid } = this.#stream;
    const lag = formatLag(this.#stream.lagMs(Date.now()));
    const seconds = Math.round((performance.now() - this.#startMs) / 1000);
    return `  ${seconds} s: ${formatCount(commits)} commits, ${formatCount(stored)} stored, TXID ${formatTxid(txid)}, lag ${lag}`;
  }

  #draw(): void {
    const room = (this.#target.columns || 80) - 1;
    // A line that wraps cannot be drawn over.
    const lines = this.#block().map((line) => `\x1b[2K${this.#coloured(line.slice(0, room))}\n`);
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    this.#target.write(up + lines.join(''));
    this.#drawnLines = lines.length;
  }

  #block(): string[] {
    const { commits, stored, txid, files, sizeBytes, lags } = this.#stream;
    const all = lags ? `half within ${formatLag(lags.medianMs)}, all within ${formatLag(lags.mostMs)}` : '';
    return [
      row('commits', formatCount(commits), `${Math.round(this.#rate())} a second`),
      row('stored', formatCount(stored), `TXID ${formatTxid(txid)}, ${files} files, ${formatSize(sizeBytes)}`),
      row('lag', formatLag(this.#stream.lagMs(Date.now())), all),
    ];
  }

  #rate(): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const ms = (last?.ms ?? 0) - (first?.ms ?? 0);
    return ms > 0 ? (1000 * ((last?.commits ?? 0) - (first?.commits ?? 0))) / ms : 0;
  }

  #coloured(line: string): string {
    if (!usesColour(this.#target)) return line;
    return `${line.slice(0, NAME_END)}\x1b[1m${line.slice(NAME_END, VALUE_END)}\x1b[0;2m${line.slice(VALUE_END)}\x1b[0m`;
  }
}

const NAME_END = 11;
const VALUE_END = NAME_END + 9;

/** A name, its value, and what there is to say about it. */
export function row(name: string, value: string, detail: string): string {
  return `  ${name.padEnd(NAME_END - 2)}${value.padStart(VALUE_END - NAME_END)}   ${detail}`.trimEnd();
}

export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

export function formatLag(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
