/*
 * A small and strict XML of the tests' own, so that what src reads and writes is not judged by the parser that it uses.
 */

export interface XmlElement {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** Text for an element, with every character that a parser could read in another way as a reference. */
export function xmlText(text: string): string {
  return text.replace(/[<>&"'\r\n\t]/g, (char) => `&#x${char.charCodeAt(0).toString(16).toUpperCase()};`);
}

/** As {@link xmlText}, with names and decimal numbers in the place of hexadecimal ones. */
export function xmlTextNamed(text: string): string {
  const names: Readonly<Record<string, string>> = { '<': 'lt', '>': 'gt', '&': 'amp', '"': 'quot', "'": 'apos' };
  return text.replace(/[<>&"'\r\n\t]/g, (char) => `&${names[char] ?? `#${char.charCodeAt(0)}`};`);
}

export function xmlElement(name: string, ...contents: readonly string[]): string {
  return `<${name}>${contents.join('')}</${name}>`;
}

// XML 1.0, production 2.
const CHARACTERS = /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u;

/** Reads a document of elements and text; throws at anything that is not well-formed. */
export function parseXml(xml: string): XmlElement {
  if (!CHARACTERS.test(xml)) throw new Error('a character that XML does not have');
  const tokens = xml
    .replace(/^<\?xml[^?]*\?>\s*/, '')
    .matchAll(/<(\/?)([A-Za-z][\w]*)((?:\s+[\w:]+="[^"<]*")*)\s*>|([^<]+)|</g);
  const top = { name: '', text: '', children: [] as XmlElement[] };
  const stack: { name: string; text: string; children: XmlElement[] }[] = [top];
  for (const [whole, slash, name, , text] of tokens) {
    const open = stack.at(-1) ?? top;
    if (text !== undefined) open.text += unescapeXml(text);
    else if (name === undefined) throw new Error(`not well-formed at ${whole}`);
    else if (slash === '') stack.push({ name, text: '', children: [] });
    else {
      if (open.name !== name) throw new Error(`</${name}> ends <${open.name}>`);
      stack.pop();
      (stack.at(-1) ?? top).children.push(open);
    }
  }
  const [root, ...others] = top.children;
  if (!root || others.length > 0 || stack.length !== 1 || top.text.trim() !== '') throw new Error('not one document');
  return root;
}

function unescapeXml(text: string): string {
  const names: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
  // A parser turns each line end into a line feed before it looks at references.
  return text.replace(/\r\n?/g, '\n').replace(/&([^;]*);?/g, (whole, name: string) => {
    if (name.startsWith('#x')) return String.fromCodePoint(Number.parseInt(name.slice(2), 16));
    if (name.startsWith('#')) return String.fromCodePoint(Number(name.slice(1)));
    const char = names[name];
    if (char === undefined || !whole.endsWith(';')) throw new Error(`no such entity: ${whole}`);
    return char;
  });
}

export function childrenOf(element: XmlElement, name: string): readonly XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

export function textOfChild(element: XmlElement, name: string): string {
  const [child, ...others] = childrenOf(element, name);
  if (!child || others.length > 0) throw new Error(`<${element.name}> has not one <${name}>`);
  return child.text;
}
