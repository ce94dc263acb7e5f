/** Whether colours may be written to `stream`: a terminal, and nobody asked for none (no-color.org). */
export function usesColour(stream: { readonly isTTY?: boolean | undefined }): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}
