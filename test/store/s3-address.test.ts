import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf } from '../../src/store/s3/s3-address.ts';
import { locationOf } from '../support/fake-s3.ts';

/** Where a request for the object `k` goes. */
function urlOf(bucket: string, region: string, endpoint?: string, pathStyle = false): string {
  const { protocol, host, basePath } = addressOf(locationOf({ bucket, endpoint, pathStyle }), region);
  return `${protocol}//${host}${basePath}k`;
}

test("Amazon's buckets are in the host name, unless the certificate would not cover it", () => {
  assert.equal(urlOf('b', 'eu-west-1'), 'https://b.s3.eu-west-1.amazonaws.com/k');
  assert.equal(urlOf('b', 'cn-north-1'), 'https://b.s3.cn-north-1.amazonaws.com.cn/k');
  assert.equal(urlOf('b', 'eu-west-1', undefined, true), 'https://s3.eu-west-1.amazonaws.com/b/k');
  assert.equal(urlOf('my.bucket', 'eu-west-1'), 'https://s3.eu-west-1.amazonaws.com/my.bucket/k');
});

test('an access point has a host of its own, at Amazon and behind an endpoint', () => {
  const arn = 'arn:aws:s3:us-east-2:123456789012:accesspoint/point';
  assert.equal(urlOf(arn, 'us-east-2'), 'https://point-123456789012.s3-accesspoint.us-east-2.amazonaws.com/k');
  assert.equal(urlOf(arn.replace('accesspoint/', 'accesspoint:'), 'us-east-2'), urlOf(arn, 'us-east-2'));
  assert.equal(urlOf(arn, 'us-east-2', 'https://s3.test'), 'https://point-123456789012.s3.test/k');
});

test('an endpoint keeps its scheme, its port and its path', () => {
  assert.equal(urlOf('b', 'r', 'http://minio:9000', true), 'http://minio:9000/b/k');
  assert.equal(urlOf('b', 'r', 'http://minio:9000'), 'http://b.minio:9000/k');
  assert.equal(urlOf('my.bucket', 'r', 'http://minio:9000'), 'http://my.bucket.minio:9000/k');
  assert.equal(urlOf('b', 'r', 'https://p.supabase.co/storage/v1/s3', true), 'https://p.supabase.co/storage/v1/s3/b/k');
  const { hostname, port } = addressOf(locationOf({ bucket: 'b', endpoint: 'https://[::1]', pathStyle: true }), 'r');
  assert.deepEqual([hostname, port], ['::1', 443]);
});
