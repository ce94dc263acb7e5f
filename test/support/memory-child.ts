import { silentLogger } from '../../src/base/log.ts';
import { DatabaseCapture } from '../../src/capture/database-capture.ts';
import { loadLocalPosition, metaPathFor } from '../../src/replica/local-state.ts';
import { captureSettings } from './capture.ts';

/*
 * A capture of DATABASE in the main thread of its process, so that what it holds is in what the process says of its memory. It
 * captures all there is for each `sync` that the test which forked it sends, and answers with that. Needs --expose-gc.
 */

/** Bytes. */
export interface Held {
  /** The heap of JavaScript. */
  readonly heap: number;
  /** Buffers outside of it. */
  readonly buffers: number;
  /** The most that was resident so far. */
  readonly peak: number;
}

/** A new capture of DATABASE, or one that goes on from what the last one left there. */
const [, , path = ''] = process.argv;
const position = loadLocalPosition(metaPathFor(path));
const kinds: string[] = [];
const capture = new DatabaseCapture(
  captureSettings(path),
  { position, spooledBytes: 0, storedTxid: position?.txid ?? 0n },
  {
    state: () => undefined,
    progress: () => undefined,
    starved: () => undefined,
    gaveUp: () => undefined,
    spooled: (file) => {
      kinds.push(file.kind);
      setImmediate(() => capture.stored(file));
    },
  },
  silentLogger,
);

async function held(): Promise<Held> {
  // Twice: what a finalizer gives back is free only after the next one.
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return { heap: heapUsed, buffers: external, peak: process.resourceUsage().maxRSS * 1024 };
}

/** What a `sync` is answered with. */
export interface Answer {
  /** Of the files that were made so far. */
  readonly kinds: readonly string[];
  readonly held: Held;
}

process.on('message', async (message) => {
  if (message === 'stop') capture.stop();
  else {
    await capture.sync();
    process.send?.({ kinds, held: await held() } satisfies Answer);
  }
});
process.once('disconnect', () => process.exit()); // the test is over, however it ended
await capture.run();
process.disconnect();
