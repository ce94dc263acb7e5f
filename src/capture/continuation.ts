import { inTurns } from '../base/async.ts';
import type { WalPosition } from '../replica/local-state.ts';
import { saltsEqual } from '../sqlite/wal.ts';
import type { WalIndexHead } from '../sqlite/wal-index.ts';
import { type WalCursor, type WalReader, walk } from './wal-reader.ts';

/**
 * In the same generation the WAL's own checksum chain must lead to the last frame that was captured: a frame that is physically ours
 * proves nothing, as after a power loss the valid end can lie before it. Another one can only be the next, and only if the
 * database file had all that was captured.
 */
export async function cursorFrom(
  saved: WalPosition,
  head: WalIndexHead,
  wal: WalReader,
): Promise<WalCursor | undefined> {
  const salts = Uint8Array.from(Buffer.from(saved.salts, 'hex'));
  if (!saltsEqual(salts, head.salts)) {
    return saved.isWhole ? { salts: head.salts, frames: 0, sums: undefined } : undefined;
  }
  if (head.mxFrame < saved.frames || !(await chainReaches(wal, salts, saved))) return undefined;
  // Without a captured frame there is nothing to recognize a generation by: a new WAL looks the same.
  if (saved.frames === 0 && !saved.isWhole) return undefined;
  return { salts, frames: saved.frames, sums: saved.frames > 0 ? saved.sums : undefined };
}

async function chainReaches(wal: WalReader, salts: Uint8Array, saved: WalPosition): Promise<boolean> {
  const reached = await inTurns(walk(wal, salts, saved.frames));
  if (saved.frames === 0) return true;
  return reached?.sums?.first === saved.sums.first && reached.sums.second === saved.sums.second;
}
