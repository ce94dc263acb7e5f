import type { RivuletError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { configValues, configYaml } from '../config/describe-config.ts';
import type { ProbeStep } from '../replica/probe-store.ts';
import type { ReplicaCheck } from './config-check.ts';
import { formatJson, formatTable } from './format.ts';

/** What a configuration means, and its warnings. */
export function describeConfig(config: Config): string {
  const warnings = config.warnings.map((warning) => `Warning: ${warning}\n`).join('');
  return `# ${config.path}, with all defaults\n${configYaml(config)}\n${warnings}${warnings && '\n'}`;
}

/** What came of trying a replica: a line for each step. */
export function describeReplica({ database, steps, error }: ReplicaCheck): string {
  const rows = error ? [['open', 'failed']] : steps.map((step) => [step.name, describeStep(step)]);
  const table = formatTable(rows).replace(/^/gm, '  ').trimEnd();
  return `${database.replica.url}\n${table}\n`;
}

function describeStep({ name, outcome, missing }: ProbeStep): string {
  if (missing) return `${outcome} (needs ${missing})`;
  if (name === 'conditional write' && outcome === 'not supported') {
    return `${outcome}: two writers at a time would not be noticed`;
  }
  return outcome;
}

/** All of it as JSON. */
export function checkJson(config: Config, checks: readonly ReplicaCheck[]): string {
  return formatJson({
    path: config.path,
    config: configValues(config),
    warnings: config.warnings,
    replicas: checks.map(({ database, steps, error }) => ({
      database: database.path,
      url: database.replica.url,
      steps: steps.map((step) => ({ ...step, error: step.error && errorJson(step.error) })),
      error: error && errorJson(error),
    })),
  });
}

function errorJson({ code, message, kept, next }: RivuletError) {
  return { code, message, kept, next };
}
