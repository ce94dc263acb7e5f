import type { RivuletError } from '../base/errors.ts';
import { REPLICA_DEFAULTS, type ReplicaConfig } from './config.ts';
import type { Place } from './config-error.ts';
import type { ConfigReport } from './config-report.ts';
import { isReplicaUrl, printableUrl } from './paths.ts';
import { checkReplicaType, fileLocation, parseReplicaUrl, type ReplicaLocation, schemeOf } from './replica-url.ts';
import { resolveS3Path, resolveS3Url, S3SettingError } from './resolve-s3.ts';
import { parseS3Url } from './s3-url.ts';
import type { ConfigFile, ReplicaSection } from './schema.ts';
import { storesOf } from './store-keys.ts';
import { OLD_REPLICA_WARNINGS, REPLICA_WARNINGS } from './unbuilt-keys.ts';
import type { Path } from './yaml-tree.ts';

/** A replica, with the keys at the top of the file as its defaults. `where`: its place in the file. */
export function resolveReplica(
  section: ReplicaSection,
  file: ConfigFile,
  where: Path,
  report: ConfigReport,
): ReplicaConfig {
  report.warnOfAll({ ...REPLICA_WARNINGS, ...OLD_REPLICA_WARNINGS }, section, where);
  const { syncIntervalMs, limits } = REPLICA_DEFAULTS;
  return {
    ...locationOf(section, file, where, report),
    syncIntervalMs: section['sync-interval'] ?? file['sync-interval'] ?? syncIntervalMs,
    limits: {
      maxConnections: section['max-connections'] ?? file['max-connections'] ?? limits.maxConnections,
      uploadBytesPerSecond: section['upload-limit'] ?? file['upload-limit'] ?? limits.uploadBytesPerSecond,
      downloadBytesPerSecond: section['download-limit'] ?? file['download-limit'] ?? limits.downloadBytesPerSecond,
    },
  };
}

function locationOf(section: ReplicaSection, file: ConfigFile, where: Path, report: ConfigReport): ReplicaLocation {
  const { path = '', url = '' } = section;
  const type = typeOf(section, where, report);
  checkKeys(section, type, where, report);
  checkWhole([...where, 'url'], report);
  checkWhole([...where, 'path'], report);
  if (isReplicaUrl(path)) {
    const message = `replica path cannot be a url, please use the 'url' field instead: ${printableUrl(path)}`;
    report.fail([...where, 'path'], message);
  }
  if (url && path) report.fail([...where, 'path'], `cannot specify url & path for ${type} replica`);
  if (url && section.bucket) report.fail([...where, 'bucket'], `cannot specify url & bucket for ${type} replica`);
  if (type === 'file' && !url && !path) report.fail(where, 'file replica path required');
  return report.located(
    () => {
      if (type !== 's3') return url ? parseReplicaUrl(url) : fileLocation(path);
      return url ? resolveS3Url(parseS3Url(url), file, section) : resolveS3Path(path, file, section);
    },
    (error) => placeOfFault(error, section, file, where, report),
  );
}

/** A URL says what it is; beside it `type` is of no account, as in Litestream. */
function typeOf({ type = 'file', url }: ReplicaSection, where: Path, report: ConfigReport): string {
  if (!url) return type;
  if (isReplicaUrl(url)) {
    const scheme = schemeOf(url);
    report.located(
      () => checkReplicaType(scheme),
      () => report.tree.placeOf([...where, 'url']),
    );
    return scheme;
  }
  if (type !== 'file') report.fail([...where, 'url'], `not a URL, which begins with ${type}://`);
  return type;
}

/** A key of another kind of store is a slip: what it asks for, encryption for one, would not be so. */
function checkKeys(section: ReplicaSection, type: string, where: Path, report: ConfigReport): void {
  for (const [key, value] of Object.entries(section)) {
    const stores = value === undefined || value === '' ? undefined : storesOf(key);
    if (!stores || stores.includes(type)) continue;
    const lacksType = section.type === undefined && !section.url && stores.includes('s3');
    const next = lacksType ? 'add `type: s3`' : `it is one of ${stores.join(', ')}`;
    report.failAt(report.tree.placeOfKey([...where, key]), `${key}: a replica of type ${type} has no such key`, next);
  }
}

/** Without its variables a path leads to a neighbour's files, or to those of all. */
function checkWhole(path: Path, report: ConfigReport): void {
  if (!report.tree.hasEmptiedPart(path)) return;
  report.fail(path, `the ${path.at(-1)} has an empty part, as a variable in it is empty`, 'give the variable a value');
}

/** Where the setting stands that is at fault: in the replica, at the top, or in the URL. */
function placeOfFault(
  error: RivuletError,
  section: ReplicaSection,
  file: ConfigFile,
  where: Path,
  { tree }: ConfigReport,
): Place {
  const key = error instanceof S3SettingError ? error.key : undefined;
  if (key !== undefined && section[key] !== undefined) return tree.placeOf([...where, key]);
  if (key !== undefined && key !== 'path' && file[key] !== undefined) return tree.placeOf([key]);
  return tree.placeOf([...where, section.url ? 'url' : 'path']);
}
