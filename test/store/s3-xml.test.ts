import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  completionBody,
  deleteBody,
  isInXml,
  readDeleteResult,
  readFault,
  readListPage,
  readUploadId,
  readUploads,
  saysCompleted,
} from '../../src/store/s3/s3-xml.ts';
import { formEncoded } from '../support/fake-s3.ts';
import { childrenOf, parseXml, textOfChild, xmlElement, xmlText, xmlTextNamed } from '../support/xml.ts';

/** Any text that is Unicode, with many of the characters that documents and URLs treat in their own way. */
const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(...`<>&"'\r\n\t %+/;#=?[]!-\\\u0085\u2028\ufffd\ufeff🔑é`),
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.constantFrom(']]>', '&amp;', '&#13;', '%41', '<!--', '\r\n'),
    ),
    { minLength: 1, maxLength: 12 },
  )
  .map((pieces) => pieces.join(''))
  .filter((text) => text.isWellFormed());
const anyKey = anyText.filter((key) => !key.includes('\0'));
const keyInXml = anyKey.filter(isInXml);

const READERS = { readListPage, readFault, readDeleteResult, readUploadId, saysCompleted, readUploads };

function listing(...contents: readonly string[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${xmlElement('ListBucketResult', xmlElement('IsTruncated', 'false'), ...contents)}`;
}

function listed(key: string): string {
  const time = xmlElement('LastModified', '2024-01-02T03:04:05.678Z');
  return xmlElement('Contents', xmlElement('Key', key), time, xmlElement('Size', '12'));
}

test('any key survives a listing, encoded as a URL or as text', () => {
  fc.assert(
    fc.property(fc.array(anyKey, { maxLength: 5 }), (keys) => {
      const xml = listing(xmlElement('EncodingType', 'url'), ...keys.map((key) => listed(formEncoded(key))));
      const page = readListPage(xml);
      assert.deepEqual(
        page?.objects.map(({ key }) => key),
        keys,
      );
      assert.equal(page?.next, undefined);
    }),
  );
  for (const written of [xmlText, xmlTextNamed]) {
    fc.assert(
      fc.property(fc.array(keyInXml, { maxLength: 5 }), (keys) => {
        const page = readListPage(listing(...keys.map((key) => listed(written(key)))));
        assert.deepEqual(
          page?.objects,
          keys.map((key) => ({ key, sizeBytes: 12, modifiedMs: Date.UTC(2024, 0, 2, 3, 4, 5, 678) })),
        );
      }),
    );
  }
});

test('a token is given back as it came, whatever is in it', () => {
  fc.assert(
    fc.property(keyInXml, (token) => {
      const xml = xmlElement(
        'ListBucketResult',
        xmlElement('IsTruncated', 'true'),
        xmlElement('NextContinuationToken', xmlText(token)),
      );
      assert.equal(readListPage(xml)?.next, token);
    }),
  );
});

test('any key that XML can hold survives the body of a delete, which is well-formed', () => {
  fc.assert(
    fc.property(fc.array(keyInXml, { minLength: 1, maxLength: 5 }), (keys) => {
      const body = parseXml(Buffer.from(deleteBody(keys)).toString());
      assert.equal(body.name, 'Delete');
      assert.deepEqual(
        childrenOf(body, 'Object').map((object) => textOfChild(object, 'Key')),
        keys,
      );
    }),
  );
});

test('exactly the keys that XML 1.0 has no characters for are told apart', () => {
  for (let code = 0; code < 0x1_0000; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const text = String.fromCharCode(code);
    const isAllowed = /[\t\n\r\u0020-\ud7ff\ue000-\ufffd]/.test(text);
    assert.equal(isInXml(text), isAllowed, code.toString(16));
  }
  assert.ok(isInXml('🔑'));
});

test('what became of any key is found in the answer to a delete', () => {
  for (const written of [xmlText, xmlTextNamed]) {
    fc.assert(
      fc.property(keyInXml, keyInXml, anyText.filter(isInXml), (deleted, failed, message) => {
        fc.pre(deleted !== failed);
        const error = [xmlElement('Code', 'AccessDenied'), xmlElement('Message', written(message))];
        const xml = xmlElement(
          'DeleteResult',
          xmlElement('Deleted', xmlElement('Key', written(deleted))),
          xmlElement('Error', xmlElement('Key', written(failed)), ...error),
        );
        const results = readDeleteResult(xml);
        assert.equal(results?.get(deleted), 'deleted');
        assert.deepEqual(results?.get(failed), { code: 'AccessDenied', message: message.trim(), region: undefined });
      }),
    );
  }
});

test('the ETags of parts survive the completion of an upload', () => {
  fc.assert(
    fc.property(fc.array(keyInXml, { minLength: 1, maxLength: 5 }), (etags) => {
      const parts = childrenOf(parseXml(Buffer.from(completionBody(etags)).toString()), 'Part');
      assert.deepEqual(
        parts.map((part) => textOfChild(part, 'ETag')),
        etags,
      );
      assert.deepEqual(
        parts.map((part) => textOfChild(part, 'PartNumber')),
        etags.map((_, index) => String(index + 1)),
      );
    }),
  );
});

test('an upload is named by any id', () => {
  fc.assert(
    fc.property(keyInXml, keyInXml, (id, key) => {
      assert.equal(readUploadId(xmlElement('InitiateMultipartUploadResult', xmlElement('UploadId', xmlText(id)))), id);
      const started = xmlElement('Initiated', '2024-01-02T03:04:05.000Z');
      const upload = xmlElement(
        'Upload',
        xmlElement('Key', xmlText(key)),
        xmlElement('UploadId', xmlText(id)),
        started,
      );
      const [found] = readUploads(xmlElement('ListMultipartUploadsResult', upload, xmlElement('Upload', started)));
      assert.deepEqual(found, { key, uploadId: id, startedMs: Date.UTC(2024, 0, 2, 3, 4, 5) });
    }),
  );
});

test('a document that is cut anywhere is no document', () => {
  const page = listing(xmlElement('EncodingType', 'url'), listed('a'), listed('b'));
  for (let end = 0; end < page.length; end++)
    assert.equal(readListPage(page.slice(0, end)), undefined, page.slice(0, end));
  const deleted = xmlElement('DeleteResult', xmlElement('Deleted', xmlElement('Key', 'a')));
  for (let end = 0; end < deleted.length; end++) assert.equal(readDeleteResult(deleted.slice(0, end)), undefined);
  const completed = xmlElement('CompleteMultipartUploadResult', xmlElement('ETag', 'e'));
  for (let end = 0; end < completed.length; end++) assert.equal(saysCompleted(completed.slice(0, end)), false);
});

const NOTHING = {
  readListPage: undefined,
  readFault: undefined,
  readDeleteResult: undefined,
  readUploadId: undefined,
  saysCompleted: false,
  readUploads: [],
};

test('what is not XML is nothing, and never an exception', () => {
  const garbage = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc
      .array(
        fc.constantFrom(
          '<',
          '>',
          '/',
          '&',
          ';',
          '"',
          '!',
          '[',
          ']',
          '?',
          'CDATA',
          'DOCTYPE',
          'ENTITY',
          'Error',
          'ListBucketResult',
          'a',
          '#',
          'x',
          '__proto__',
          'constructor',
          ' ',
        ),
      )
      .map((pieces) => pieces.join('')),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString()),
  );
  fc.assert(
    fc.property(garbage, (text) => {
      const found = Object.fromEntries(Object.entries(READERS).map(([name, read]) => [name, read(text)]));
      assert.deepEqual(found, NOTHING);
    }),
    { numRuns: 2000 },
  );
});

test('a listing with one character changed is the listing of other keys, or none, and never an exception', () => {
  const page = listing(listed('aaa'), listed('bbb'));
  fc.assert(
    fc.property(fc.nat(page.length - 1), fc.string({ unit: 'binary', maxLength: 2 }), (at, text) => {
      const found = readListPage(page.slice(0, at) + text + page.slice(at + 1));
      assert.ok(found === undefined || found.objects.every(({ key, sizeBytes }) => key !== '' && sizeBytes >= 0));
    }),
    { numRuns: 1000 },
  );
});

test('documents that are made to explode are nothing', () => {
  const names = 'abcdefghij'.split('');
  const bomb = names
    .map((name, i) => `<!ENTITY ${name} "${i === 0 ? 'x'.repeat(1000) : `&${names[i - 1]};`.repeat(10)}">`)
    .join('');
  const files = '<!ENTITY f SYSTEM "file:///etc/passwd">';
  for (const entities of [bomb, files]) {
    const text = entities === bomb ? '&j;' : '&f;';
    const xml = `<!DOCTYPE ListBucketResult [${entities}]>${listing(listed(text)).replace(/<\?xml.*\n/, '')}`;
    assert.equal(readListPage(xml), undefined);
    assert.equal(readFault(`<!DOCTYPE Error [${entities}]><Error><Code>${text}</Code></Error>`), undefined);
  }
  const deep = `${'<Error>'.repeat(200_000)}${'</Error>'.repeat(200_000)}`;
  assert.equal(readFault(deep), undefined);
});

test('names that objects have in JavaScript are names like others', () => {
  const odd = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'].map((name) => xmlElement(name, '1')).join('');
  assert.deepEqual(
    readListPage(listing(odd, listed('a')))?.objects.map(({ key }) => key),
    ['a'],
  );
  assert.deepEqual(
    readListPage(listing(...['__proto__', 'constructor'].map(listed)))?.objects.map(({ key }) => key),
    ['__proto__', 'constructor'],
  );
});

test('documents with prefixes, comments, sections of characters and white space are read as what they say', () => {
  const xml = `<?xml version="1.0"?>
    <s3:ListBucketResult xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">
      <!-- one -->
      <s3:IsTruncated>false</s3:IsTruncated>
      <s3:Contents><s3:Key><![CDATA[a<&b]]></s3:Key><s3:Size>1</s3:Size><s3:LastModified>2024-01-01T00:00:00Z</s3:LastModified></s3:Contents>
    </s3:ListBucketResult>\n`;
  assert.deepEqual(
    readListPage(xml)?.objects.map(({ key }) => key),
    ['a<&b'],
  );
});
