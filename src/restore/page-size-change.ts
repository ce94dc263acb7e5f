import type { RivuletError } from '../base/errors.ts';
import type { LtxHeader } from '../ltx/format.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { pageSizeMismatch } from './planned-file.ts';

/**
 * A planned file has pages of another size than the last one. Nothing of it, or of what comes before it, can be in the database
 * at the end: the files after it hold every page, or they do not belong together.
 */
export class PageSizeChange extends Error {
  /** Its number in the plan. */
  readonly number: number;
  /** What to say when the files after it do not hold every page. */
  readonly mismatch: RivuletError;

  constructor(number: number, header: LtxHeader, file: LtxFileInfo, last: LtxHeader, lastFile: LtxFileInfo) {
    const mismatch = pageSizeMismatch(header, file, last, lastFile);
    super(mismatch.message);
    this.number = number;
    this.mismatch = mismatch;
  }
}
