import { type ErrorParts, messageOf, RivuletError } from '../base/errors.ts';
import type { LogFields, LogLevel } from '../base/log.ts';
import type { Txid } from '../base/types.ts';
import type { SpooledFile } from './l0-writer.ts';
import type { CaptureSettings, CaptureState, GivenUp, StartingPoint } from './options.ts';

/** An error on its way between threads: a RivuletError keeps its parts, anything else its code and message. */
export type SentError = ErrorParts;

export function sendError(error: unknown): SentError {
  if (error instanceof RivuletError) {
    const { code, message, kept, next } = error;
    return { code, message, ...(kept === undefined ? {} : { kept }), ...(next === undefined ? {} : { next }) };
  }
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'UNEXPECTED';
  return { code, message: messageOf(error) };
}

export function receiveError(sent: SentError): RivuletError {
  return new RivuletError(sent);
}

/** CaptureState with its error made sendable. */
export type SentState =
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'attached' }
  | { readonly kind: 'suspended'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: SentError };

export function sendState(state: CaptureState): SentState {
  return state.kind === 'failed' ? { kind: 'failed', error: sendError(state.error) } : state;
}

export function receiveState(sent: SentState): CaptureState {
  return sent.kind === 'failed' ? { kind: 'failed', error: receiveError(sent.error) } : sent;
}

/** To the capture thread; `id` names the database. */
export type Request =
  | {
      readonly kind: 'open';
      readonly id: number;
      readonly settings: CaptureSettings;
      readonly start: StartingPoint;
      readonly gauges: SharedArrayBuffer;
    }
  | {
      readonly kind: 'keep';
      readonly id: number;
      readonly settings: CaptureSettings;
      readonly gauges: SharedArrayBuffer;
    }
  | { readonly kind: 'sync'; readonly id: number; readonly ticket: number }
  | { readonly kind: 'stored'; readonly id: number; readonly file: SpooledFile }
  | { readonly kind: 'give-up'; readonly id: number; readonly what: GivenUp }
  | { readonly kind: 'stop'; readonly id: number; readonly hasRoom: boolean };

/** From the capture thread. */
export type Report =
  | { readonly kind: 'state'; readonly id: number; readonly state: SentState }
  | { readonly kind: 'spooled'; readonly id: number; readonly file: SpooledFile }
  | { readonly kind: 'progress'; readonly id: number; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: 'starved' | 'gave-up'; readonly id: number }
  | { readonly kind: 'synced'; readonly id: number; readonly ticket: number; readonly txid: Txid | undefined }
  | { readonly kind: 'sync-failed'; readonly id: number; readonly ticket: number; readonly error: SentError }
  | { readonly kind: 'stopped'; readonly id: number; readonly error: SentError | undefined }
  | {
      readonly kind: 'log';
      readonly id: number;
      readonly level: LogLevel;
      readonly message: string;
      readonly fields: LogFields | undefined;
    };
