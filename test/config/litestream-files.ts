/** A configuration as users of Litestream have it, and what must come of it. */
export interface LitestreamFile {
  readonly name: string;
  readonly text: string;
  readonly env?: Readonly<Record<string, string>>;
  /** URL of each database's replica. */
  readonly urls: readonly string[];
  /** The keys that a warning is about, in their order. */
  readonly warnings?: readonly string[];
}

const variable = (name: string): string => `\${${name}}`;

export const LITESTREAM_FILES: readonly LitestreamFile[] = [
  {
    name: 'v0.3 with a name, an endpoint, and the environment in the path',
    text: `dbs:
  - path: /app/data/quadtask.db
    replicas:
      - name: quadtask
        type: s3
        bucket: litestream
        path: quadtask-${variable('ENVIRONMENT')}
        endpoint: s3.example.com
        skip-verify: false
        region: us-east-1
`,
    env: { ENVIRONMENT: 'staging' },
    urls: ['s3://litestream/quadtask-staging?endpoint=https://s3.example.com'],
    warnings: [],
  },
  {
    name: 'v0.3 as packaged',
    text: `# AWS credentials
access-key-id: AKIAxxxxxxxxxxxxxxxx
secret-access-key: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx

dbs:
 - path: /var/lib/db
   replicas:
     - url: s3://mybkt.litestream.io/db
       retention: 24h
       retention-check-interval: 1h
       snapshot-interval: 6h
       validation-interval: 12h
       sync-interval: 10s
`,
    urls: ['s3://mybkt.litestream.io/db'],
    warnings: ['retention', 'retention-check-interval', 'snapshot-interval', 'validation-interval'],
  },
  {
    name: 'v0.5 with everything at the top',
    text: `addr: ":9090"
mcp-addr: ":3001"
exec: "bin/server -p 8080"
logging:
  level: INFO
  type: text
  stderr: false
levels:
  - interval: 30s
  - interval: 5m
snapshot:
  interval: 1h
  retention: 720h
l0-retention: 5m
l0-retention-check-interval: 15s
verify-compaction: true
validation: {interval: 6h}
retention: {enabled: false}
heartbeat-url: https://hc-ping.com/0000
heartbeat-interval: 5m
socket: {enabled: true, path: /var/run/litestream.sock, permissions: 0600}
shutdown-sync-timeout: 30s
shutdown-sync-interval: 500ms
region: eu-central-1
access-key-id: $LITESTREAM_ACCESS_KEY_ID
secret-access-key: ${variable('LITESTREAM_SECRET_ACCESS_KEY')}
dbs:
  - path: /data/db1.sqlite
    monitor-interval: 1s
    checkpoint-interval: 1m
    busy-timeout: 1s
    min-checkpoint-page-count: 1000
    truncate-page-n: 500000
    restore-if-db-not-exists: true
    meta-path: /data/.db1-litestream
    replica:
      url: s3://mybkt/db1
      sync-interval: 1s
      auto-recover: true
      part-size: 10MB
      concurrency: 10
  - path: ~/db2.sqlite
    replica:
      type: file
      path: /backup/db2
`,
    env: { LITESTREAM_ACCESS_KEY_ID: 'id', LITESTREAM_SECRET_ACCESS_KEY: 'secret' },
    urls: ['s3://mybkt/db1', 'file:///backup/db2'],
    warnings: [
      ...['mcp-addr', 'levels', 'snapshot', 'l0-retention', 'l0-retention-check-interval', 'verify-compaction'],
      ...['validation', 'heartbeat-url', 'heartbeat-interval', 'socket.enabled', 'auto-recover'],
    ],
  },
  {
    name: 'MinIO by URL',
    text: `dbs:
  - path: /path/to/db
    replica:
      url: s3://mybkt.localhost:9000/db
      access-key-id: minioadmin
      secret-access-key: minioadmin
`,
    urls: ['s3://mybkt/db?endpoint=http://localhost:9000'],
  },
  {
    name: 'MinIO by keys',
    text: `dbs:
  - path: /path/to/db
    replica:
      type: s3
      bucket: mybkt
      path: db
      endpoint: http://minio:9000
      region: us-east-1
      force-path-style: true
      access-key-id: minioadmin
      secret-access-key: minioadmin
      sign-payload: true
      require-content-md5: false
`,
    urls: ['s3://mybkt/db?endpoint=http://minio:9000'],
  },
  {
    name: 'Backblaze B2',
    text: `dbs:
  - path: /path/to/db
    replicas:
      - type: s3
        bucket: mybkt
        path: db
        endpoint: s3.us-west-000.backblazeb2.com
        force-path-style: true
        access-key-id: "000"
        secret-access-key: K000
`,
    urls: ['s3://mybkt/db?endpoint=https://s3.us-west-000.backblazeb2.com'],
  },
  {
    name: 'DigitalOcean Spaces by URL, v0.3',
    text: `access-key-id: x
secret-access-key: y
dbs:
  - path: /path/to/local/db
    max-checkpoint-page-count: 10000
    replicas:
      - url: s3://bucketname.nyc3.digitaloceanspaces.com/db
`,
    urls: ['s3://bucketname/db?endpoint=https://nyc3.digitaloceanspaces.com'],
    warnings: ['dbs[0].max-checkpoint-page-count'],
  },
  {
    name: 'Cloudflare R2',
    text: `dbs:
  - path: /path/to/db
    replica:
      url: s3://bucket/path?endpoint=https://ACCOUNT.r2.cloudflarestorage.com&region=auto
      access-key-id: ${variable('R2_ACCESS_KEY_ID')}
      secret-access-key: ${variable('R2_SECRET_ACCESS_KEY')}
`,
    env: { R2_ACCESS_KEY_ID: 'a', R2_SECRET_ACCESS_KEY: 'b' },
    urls: ['s3://bucket/path?endpoint=https://account.r2.cloudflarestorage.com'],
  },
  {
    name: 'Tigris, as on Fly.io',
    text: `dbs:
  - path: $DB_PATH
    replica:
      type: s3
      endpoint: https://fly.storage.tigris.dev
      region: auto
      bucket: $BUCKET_NAME
      path: litestream/app.db
`,
    env: { DB_PATH: '/litefs/db', BUCKET_NAME: 'my-bucket' },
    urls: ['s3://my-bucket/litestream/app.db?endpoint=https://fly.storage.tigris.dev'],
  },
  {
    name: 'Supabase',
    text: `dbs:
  - path: /db
    replica:
      type: s3
      bucket: b1
      path: db
      endpoint: https://ref.supabase.co/storage/v1/s3
      region: eu-west-1
`,
    urls: ['s3://b1/db?endpoint=https://ref.supabase.co/storage/v1/s3'],
  },
  {
    name: 'encryption by the store',
    text: `sse-kms-key-id: arn:aws:kms:us-east-1:123456789012:key/0000
dbs:
  - path: /db
    replica:
      url: s3://bucket/db?storageClass=STANDARD_IA
`,
    urls: ['s3://bucket/db'],
  },
];
