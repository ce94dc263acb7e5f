/** SQLite keeps its locks at byte 1 GiB of the database; the page that holds it is never used for data. */
export const LOCK_BYTE_OFFSET = 0x4000_0000;

/** The lock page's number for a page size in bytes: 262145 at 4096. */
export function lockPageNumber(pageSize: number): number {
  return LOCK_BYTE_OFFSET / pageSize + 1;
}

export const MIN_PAGE_SIZE = 512;
export const MAX_PAGE_SIZE = 65_536;

export function isPageSize(value: number): boolean {
  return value >= MIN_PAGE_SIZE && value <= MAX_PAGE_SIZE && (value & (value - 1)) === 0;
}
