import { RivuletError } from '../base/errors.ts';

/**
 * Which part of an LTX file is wrong:
 * - `not-ltx`: no LTX magic; `truncated`: the file ends too early; `trailing`: bytes after the trailer
 * - `header`, `page`, `index`, `trailer`: a field there has a value it cannot have
 * - `checksum`: every field is possible, but the file checksum does not fit the contents
 */
export type LtxFault = 'not-ltx' | 'truncated' | 'trailing' | 'header' | 'page' | 'index' | 'trailer' | 'checksum';

/** A damaged or foreign LTX file. `fault` says where, the message which field. */
export class LtxError extends RivuletError {
  override readonly name = 'LtxError';
  readonly fault: LtxFault;

  constructor(fault: LtxFault, detail: string) {
    super({ code: 'LTX_DAMAGED', message: `damaged LTX file: ${detail}` });
    this.fault = fault;
  }
}
