import { parseXml, XmlElement } from '@rgrove/parse-xml';

/** An element: its text, and its children by name (without the prefix of a namespace). */
class Element {
  readonly #xml: XmlElement;

  constructor(xml: XmlElement) {
    this.#xml = xml;
  }

  get text(): string {
    return this.#xml.text;
  }

  all(name: string): Element[] {
    return this.#xml.children
      .filter((child): child is XmlElement => child instanceof XmlElement && localName(child) === name)
      .map((child) => new Element(child));
  }

  one(name: string): Element | undefined {
    return this.all(name)[0];
  }
}

function localName({ name }: XmlElement): string {
  return name.slice(name.indexOf(':') + 1);
}

/** The root element of this name; undefined when the document is something else, or not well-formed to its end. */
function root(xml: string, name: string): Element | undefined {
  try {
    const element = parseXml(xml).root;
    return element && localName(element) === name ? new Element(element) : undefined;
  } catch {
    return undefined;
  }
}

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Where the next page begins; undefined: this was the last one. */
  readonly next: string | undefined;
}

/**
 * A page of ListObjectsV2, asked for with `encoding-type=url`. Undefined when it is not one, or not whole: a listing from
 * which something is missing would look like a replica from which something is missing.
 */
export function readListPage(xml: string): ListPage | undefined {
  const page = root(xml, 'ListBucketResult');
  const truncated = page?.one('IsTruncated')?.text;
  if (!page || (truncated !== 'true' && truncated !== 'false')) return undefined;
  const next = truncated === 'true' ? page.one('NextContinuationToken')?.text : undefined;
  if (truncated === 'true' && !next) return undefined;
  const isEncoded = page.one('EncodingType')?.text === 'url';
  const objects: ListedObject[] = [];
  for (const content of page.all('Contents')) {
    const key = content.one('Key')?.text;
    const size = content.one('Size')?.text ?? '';
    const modifiedMs = Date.parse(content.one('LastModified')?.text ?? '');
    if (!key || !/^\d+$/.test(size) || Number.isNaN(modifiedMs)) return undefined;
    const name = isEncoded ? decodeName(key) : key;
    if (name === undefined) return undefined;
    objects.push({ key: name, sizeBytes: Number(size), modifiedMs });
  }
  return { objects, next };
}

/** `encoding-type=url` is that of forms: a space is a plus sign. */
function decodeName(encoded: string): string | undefined {
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

/** An error as S3 tells it. */
export interface S3Fault {
  readonly code: string;
  readonly message: string;
  /** The region to ask instead, where the error is about that. */
  readonly region: string | undefined;
}

function faultOf(error: Element): S3Fault | undefined {
  const code = error.one('Code')?.text.trim();
  if (!code) return undefined;
  return { code, message: error.one('Message')?.text.trim() ?? '', region: error.one('Region')?.text.trim() };
}

/** Undefined when the document is not an error of S3's (a page of a proxy's, nothing at all). */
export function readFault(xml: string): S3Fault | undefined {
  const error = root(xml, 'Error');
  return error && faultOf(error);
}

/** What a batch delete says of each key; undefined when it is no such answer. */
export function readDeleteResult(xml: string): ReadonlyMap<string, S3Fault | 'deleted'> | undefined {
  const result = root(xml, 'DeleteResult');
  if (!result) return undefined;
  const answers = new Map<string, S3Fault | 'deleted'>();
  for (const deleted of result.all('Deleted')) answers.set(deleted.one('Key')?.text ?? '', 'deleted');
  for (const error of result.all('Error')) {
    const fault = faultOf(error) ?? { code: 'unknown', message: '', region: undefined };
    answers.set(error.one('Key')?.text ?? '', fault);
  }
  return answers;
}

export function readUploadId(xml: string): string | undefined {
  return root(xml, 'InitiateMultipartUploadResult')?.one('UploadId')?.text || undefined;
}

/** Whether the answer to the completion of an upload says that it is complete; its status can be 200 and it be an error. */
export function saysCompleted(xml: string): boolean {
  return root(xml, 'CompleteMultipartUploadResult') !== undefined;
}

export interface AbandonedUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly startedMs: number;
}

/** The uploads under way below a prefix: one page is enough, the rest is found the next time. */
export function readUploads(xml: string): readonly AbandonedUpload[] {
  const uploads = root(xml, 'ListMultipartUploadsResult')?.all('Upload') ?? [];
  return uploads.flatMap((upload) => {
    const key = upload.one('Key')?.text;
    const uploadId = upload.one('UploadId')?.text;
    const startedMs = Date.parse(upload.one('Initiated')?.text ?? '');
    return key && uploadId && !Number.isNaN(startedMs) ? [{ key, uploadId, startedMs }] : [];
  });
}

/** XML 1.0 has no way at all to write most control characters, and two others. */
export function isInXml(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return !/[\0-\x08\v\f\x0e-\x1f\ufffe\uffff]/.test(text);
}

export function deleteBody(keys: readonly string[]): Uint8Array {
  const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join('');
  return Buffer.from(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${objects}</Delete>`);
}

export function completionBody(etags: readonly string[]): Uint8Array {
  const parts = etags.map(
    (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
  );
  const xmlns = 'http://s3.amazonaws.com/doc/2006-03-01/';
  return Buffer.from(`<CompleteMultipartUpload xmlns="${xmlns}">${parts.join('')}</CompleteMultipartUpload>`);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&quot;',
  "'": '&apos;',
};

/** A parser reads a carriage return as a line feed, and may tidy up the white space at both ends. */
function escapeXml(text: string): string {
  return text.replace(/[<>&"'\r\n\t]/g, (char) => ENTITIES[char] ?? `&#${char.charCodeAt(0)};`);
}
