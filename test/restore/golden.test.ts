import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parseTxid } from '../../src/base/types.ts';
import { Replica } from '../../src/replica/replica.ts';
import { restoreDatabase } from '../../src/restore/restore.ts';
import { FileStore } from '../../src/store/file/file-store.ts';
import { goldenFolder } from '../support/golden.ts';

interface Point {
  readonly txid: string;
  readonly sha256: string;
  readonly size: number;
  readonly error?: boolean;
}

interface Expectation {
  readonly page_size: number;
  readonly latest: Omit<Point, 'txid'>;
  readonly points?: readonly Point[];
}

const golden = goldenFolder() ?? '';
// v0.3 replicas have no LTX files.
const cases = golden ? readdirSync(golden).filter((name) => existsSync(join(golden, name, 'replica/ltx'))) : [];

describe('restoring what Litestream wrote', { skip: golden ? false : 'SKIPPED: no golden replicas found' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'rivulet-golden-'));
  after(() => rmSync(folder, { recursive: true }));

  for (const name of cases) {
    // The files say what Litestream itself restores.
    const expected = JSON.parse(readFileSync(join(golden, name, 'expect.json'), 'utf8')) as Expectation;
    const replica = new Replica(new FileStore({ root: join(golden, name, 'replica') }));
    const restoreTo = async (
      file: string,
      txid?: string,
    ): Promise<{ sha256: string; size: number; pageSize: number }> => {
      const outputPath = join(folder, name, file);
      const { pageSize, sizeBytes } = await restoreDatabase(replica, {
        outputPath,
        txid: txid === undefined ? undefined : parseTxid(txid),
        integrityCheck: txid === undefined ? 'full' : 'none',
      });
      const bytes = readFileSync(outputPath);
      assert.equal(bytes.length, sizeBytes);
      return { sha256: createHash('sha256').update(bytes).digest('hex'), size: sizeBytes, pageSize };
    };

    test(`${name}: the newest state is byte for byte Litestream's`, async () => {
      const { sha256, size } = expected.latest;
      assert.deepEqual(await restoreTo('latest.db'), { sha256, size, pageSize: expected.page_size });
    });

    for (const point of expected.points ?? []) {
      if (point.error) {
        test(`${name}: TXID ${point.txid} is refused, as by Litestream`, async () => {
          await assert.rejects(restoreTo(`${point.txid}.db`, point.txid), { code: 'TXID_NOT_AVAILABLE' });
          assert.equal(existsSync(join(folder, name, `${point.txid}.db`)), false);
        });
        continue;
      }
      test(`${name}: TXID ${point.txid} is byte for byte Litestream's`, async () => {
        const { sha256, size } = point;
        const restored = await restoreTo(`${point.txid}.db`, point.txid);
        assert.deepEqual(restored, { sha256, size, pageSize: expected.page_size });
      });
    }
  }

  test('the cases are there', () => {
    assert.ok(cases.length >= 7, `${cases.length} cases`);
  });
});
