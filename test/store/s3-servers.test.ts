import { test } from 'node:test';
import { S3Store } from '../../src/store/s3/s3-store.ts';
import { RetryingStore } from '../../src/store/wrap/retrying-store.ts';
import { FaultProxy, type Faults } from '../servers/fault-proxy.ts';
import { RGW, s3Server } from '../servers/rgw.ts';
import type { S3Server } from '../servers/s3-server.ts';
import { SWIFT, swiftServer } from '../servers/swift.ts';
import { skipWithout } from '../support/tools.ts';
import { conformance } from './conformance.ts';

/** Enough for a test that meets a fault at every step. */
const RETRIES = { attempts: 40, firstPauseMs: 1, longestPauseMs: 20 };
/** Longer than Swift takes to delete 1,000 objects. */
const IDLE_TIMEOUT_MS = { rgw: 1000, swift: 10_000 };
/** Of how many tests with a slow server one begins with silence. */
const SILENT_TESTS = 12;
const MIB = 1024 * 1024;

/** What the network before a server does. `connections`: how many were made to it until now. */
interface Network {
  readonly name: string;
  readonly faults: ((connections: () => number) => Faults) | undefined;
}

const CLEAR: Network = { name: 'a clear network', faults: undefined };
const SLOW: Network = { name: 'a slow network', faults: () => ({ latencyMs: 1, bytesPerSecond: 100 * MIB }) };
/** Parts have 5 MiB: every third one is cut. */
const CUTTING: Network = {
  name: 'a network that resets connections',
  faults: () => ({ cutDownloadAtBytes: 1.5 * MIB, cutUploadAtBytes: 13 * MIB }),
};
const ENDING: Network = {
  name: 'a network that ends answers in the middle',
  faults: () => ({ cutDownloadAtBytes: 1.5 * MIB, cutBy: 'end' }),
};
const REFUSING: Network = {
  name: 'a network that refuses every third connection',
  faults: (connections) => ({
    get refuse() {
      return connections() % 3 === 1;
    },
  }),
};
const SILENT: Network = {
  name: 'a network that swallows what is sent at first',
  faults: (connections) => ({
    get blackHole() {
      return connections() < 2;
    },
  }),
};

/** Everything that a network does, once: for a server that is slow itself. */
const BAD: Network = {
  name: 'a bad network',
  faults: (connections) => ({
    latencyMs: 1,
    bytesPerSecond: 100 * MIB,
    cutDownloadAtBytes: 1.5 * MIB,
    cutUploadAtBytes: 13 * MIB,
    get refuse() {
      return connections() % 3 === 1;
    },
    get blackHole() {
      return connections() < 3 && prefixes % SILENT_TESTS === 0;
    },
  }),
};

let prefixes = 0;

function suite(
  name: string,
  start: () => Promise<S3Server>,
  idleTimeoutMs: number,
  { name: network, faults }: Network,
): void {
  let bucket: Promise<string> | undefined;
  conformance(`${name} behind ${network}`, async () => {
    const server = await start();
    bucket ??= server.newBucket();
    const proxy = faults && (await FaultProxy.start(server.port));
    if (proxy && faults) proxy.faults = faults(() => proxy.counters.connections);
    const endpoint = proxy ? `http://127.0.0.1:${proxy.port}` : server.endpoint;
    const options = { idleTimeoutMs, partRetries: { ...RETRIES, longestRetryAfterMs: 1000 } };
    const store = new S3Store(server.location(await bucket, `t${++prefixes}/`, { endpoint }), proxy ? options : {});
    // Swift asks to come back now and then, whatever the network does.
    const isSteady = !proxy && server.conditionalWrites;
    return {
      store: isSteady ? store : new RetryingStore(store, RETRIES),
      // Swift says 404 in the moment between a new version of an object and the end of the old one.
      supports: {
        ifAbsent: server.conditionalWrites,
        timestamps: false,
        replacesInOneStep: server.conditionalWrites,
      },
      cleanup: async () => {
        await proxy?.close();
      },
    };
  });
}

const noRgw = skipWithout(RGW);
if (noRgw) test("Ceph's S3 gateway", { skip: noRgw });
for (const network of noRgw ? [] : [CLEAR, SLOW, CUTTING, ENDING, REFUSING, SILENT]) {
  suite("Ceph's S3 gateway", s3Server, IDLE_TIMEOUT_MS.rgw, network);
}
const noSwift = skipWithout(SWIFT);
if (noSwift) test("Swift's S3 layer", { skip: noSwift });
for (const network of noSwift ? [] : [CLEAR, BAD]) {
  suite("Swift's S3 layer", swiftServer, IDLE_TIMEOUT_MS.swift, network);
}
