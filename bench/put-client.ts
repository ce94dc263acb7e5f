// Sends small objects to an S3 server: node put-client.ts CLIENT ENDPOINT COUNT AT_A_TIME. CLIENT is `rivulet` or `aws-sdk`.
// Prints the CPU time of this process for one of them, in microseconds.
import { randomBytes } from 'node:crypto';
import { forEachLimited } from '../src/base/async.ts';
import { Secret } from '../src/base/secret.ts';
import { S3Store } from '../src/store/s3/s3-store.ts';

const OBJECT_BYTES = 4096;
/** Not counted: connections are made, code is compiled. */
const WARM_UP = 500;
const KEYS = { accessKeyId: 'BENCH', secretAccessKey: 'bench-secret' };

type Put = (key: string, bytes: Uint8Array) => Promise<unknown>;

function rivulet(endpoint: string, connections: number): Put {
  const store = new S3Store(
    {
      type: 's3',
      url: 's3://bucket/bench',
      bucket: 'bucket',
      keyPrefix: 'bench/',
      endpoint,
      region: 'us-east-1',
      pathStyle: true,
      credentials: { ...KEYS, secretAccessKey: new Secret(KEYS.secretAccessKey), sessionToken: undefined },
      signPayload: true,
      contentMd5: true,
      skipVerify: false,
      rootCas: [],
      storageClass: undefined,
      encryption: undefined,
      partSizeBytes: 5 * 1024 * 1024,
      concurrency: 5,
      headers: {},
    },
    { maxConnections: connections },
  );
  return (key, bytes) => store.put(key, { bytes });
}

async function awsSdk(endpoint: string, connections: number): Promise<Put> {
  const { PutObjectCommand, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: KEYS,
    requestHandler: { httpAgent: { maxSockets: connections } },
    // What several stores need; it also is the cheaper setting.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  return (key, bytes) => client.send(new PutObjectCommand({ Bucket: 'bucket', Key: `bench/${key}`, Body: bytes }));
}

const [, , client, endpoint = '', count = '', atATime = ''] = process.argv;
const connections = Number(atATime);
const put = client === 'rivulet' ? rivulet(endpoint, connections) : await awsSdk(endpoint, connections);
const bytes = randomBytes(OBJECT_BYTES);
const putAll = (from: number, to: number): Promise<void> => {
  const numbers = Array.from({ length: to - from }, (_, index) => from + index);
  return forEachLimited(numbers, connections, async (number) => void (await put(`object-${number}`, bytes)));
};
await putAll(0, WARM_UP);
const before = process.cpuUsage();
await putAll(WARM_UP, WARM_UP + Number(count));
const { user, system } = process.cpuUsage(before);
process.stdout.write(`${((user + system) / Number(count)).toFixed(1)}\n`);
process.exit(0);
