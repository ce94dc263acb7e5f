import { formatTxid } from '../base/types.ts';
import { isReplicaUrl } from '../config/paths.ts';
import type { ReplicaLocation } from '../config/replica-url.ts';
import { formatLtxName } from '../ltx/format.ts';
import type { RestorePlan } from '../replica/plan.ts';
import { formatTable, formatTime } from './format.ts';
import type { RestoreRequest } from './restore.ts';

/** A plan as JSON has it: what would be fetched from where, and where it would go. */
export function planJson(plan: RestorePlan, { argument, outputPath }: RestoreRequest, location: ReplicaLocation) {
  return {
    // What was typed as a URL may hold a key: it is told as it was understood.
    source: isReplicaUrl(argument) ? location.url : argument,
    target_path: outputPath,
    replica: location.type,
    replica_url: location.url,
    min_txid: formatTxid(plan.files[0]?.minTxid ?? 0n),
    max_txid: formatTxid(plan.txid),
    files: plan.files.map((file) => ({
      level: file.level,
      name: formatLtxName(file.minTxid, file.maxTxid),
      min_txid: formatTxid(file.minTxid),
      max_txid: formatTxid(file.maxTxid),
      size: file.sizeBytes,
      timestamp: formatTime(file.createdMs),
    })),
  };
}

/** A plan for people, in the form of Litestream's. */
export function describePlan(plan: RestorePlan, request: RestoreRequest, location: ReplicaLocation): string {
  const json = planJson(plan, request, location);
  const header = ['level', 'file', 'min_txid', 'max_txid', 'size', 'timestamp'];
  return [
    'Restore plan:',
    `  source: ${json.source}`,
    `  target: ${json.target_path}`,
    // A source that is a path says nothing of where its replica is.
    `  replica: ${json.replica}${isReplicaUrl(request.argument) ? '' : ` (${json.replica_url})`}`,
    `  txid range: ${json.min_txid} - ${json.max_txid}`,
    '',
    'Files to fetch:',
    formatTable([header, ...json.files.map((file) => Object.values(file).map(String))]),
  ].join('\n');
}
