import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { median } from './figures.ts';

const CLIENT = fileURLToPath(new URL('put-client.ts', import.meta.url));
const CLIENTS = ['rivulet', 'aws-sdk'] as const;
const OBJECTS = 2000;
const execute = promisify(execFile);

/** CPU time of a client for one PUT of 4 KiB, µs: one after the other, and 16 at a time. */
export interface PutCpu {
  readonly sequentialUs: number;
  readonly concurrentUs: number;
}

/** Measures clients against a server that does nothing but say yes, so that only they are measured. */
export async function putCpu(runs: number): Promise<Readonly<Record<string, PutCpu>>> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(200, { ETag: '"0"', 'Content-Length': '0' }).end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on a port
  const measure = async (client: string, atATime: number): Promise<number> => {
    const args = [CLIENT, client, endpoint, String(OBJECTS), String(atATime)];
    return Number((await execute(process.execPath, args)).stdout);
  };
  try {
    const all = new Map(CLIENTS.map((client) => [client, { sequential: [] as number[], concurrent: [] as number[] }]));
    for (let run = 0; run < runs; run++) {
      for (const [client, figures] of all) {
        figures.sequential.push(await measure(client, 1));
        figures.concurrent.push(await measure(client, 16));
      }
    }
    return Object.fromEntries(
      [...all].map(([client, { sequential, concurrent }]) => [
        client,
        { sequentialUs: median(sequential), concurrentUs: median(concurrent) },
      ]),
    );
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
