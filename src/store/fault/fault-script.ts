import { sleep } from '../../base/async.ts';
import { StoreError } from '../store.ts';
import { ActiveRule, type FaultRule, VERBS, type Verb } from './fault-rule.ts';

const DEFAULT_DELAY_MS = 100;

/** How often a verb was called, and how many faults it was dealt (a slow call is one too). */
export interface FaultCounts {
  readonly calls: number;
  readonly faults: number;
}

/** Ends what hangs. */
export interface Release {
  readonly signal: AbortSignal | undefined;
  readonly closed: AbortSignal;
}

/** The rules in force, and what they did. */
export class FaultScript {
  enabled = true;
  readonly #seed: number;
  readonly #counts = new Map(VERBS.map((verb) => [verb, { calls: 0, faults: 0 }]));
  #rules: readonly ActiveRule[] = [];

  constructor(rules: readonly FaultRule[], seed: number) {
    this.#seed = seed;
    this.replace(rules);
  }

  replace(rules: readonly FaultRule[]): void {
    this.#rules = rules.map((rule, index) => new ActiveRule(rule, this.#seed + index * 0x1_0001));
  }

  counts(): Record<Verb, FaultCounts> {
    const of = (verb: Verb): FaultCounts => ({ ...(this.#counts.get(verb) ?? { calls: 0, faults: 0 }) });
    return { put: of('put'), open: of('open'), read: of('read'), list: of('list'), delete: of('delete') };
  }

  countCall(verb: Verb): void {
    const counts = this.#counts.get(verb);
    if (counts) counts.calls++;
  }

  /** The rules that match and that chance lets strike: `slow` ones, and the first of another kind behind them. */
  draw(verb: Verb, keys: readonly string[], isWanted: (rule: FaultRule) => boolean = () => true): ActiveRule[] {
    if (!this.enabled) return [];
    const drawn: ActiveRule[] = [];
    for (const active of this.#rules) {
      const matches = active.rule.verb === verb && isWanted(active.rule) && keys.some((key) => active.hits(key));
      if (!matches || !active.draw()) continue;
      drawn.push(active);
      if (active.rule.kind !== 'slow') break;
    }
    return drawn;
  }

  /** Spends one strike of the rule and counts the fault; false when it was spent or switched off by now. */
  strike(active: ActiveRule): boolean {
    const struck = this.enabled && active.strike();
    const counts = this.#counts.get(active.rule.verb);
    if (struck && counts) counts.faults++;
    return struck;
  }

  /** Waits as the drawn rules say; returns the one that is to fail the call. */
  async suffer(drawn: readonly ActiveRule[], release: Release): Promise<ActiveRule | undefined> {
    for (const active of drawn) {
      if (!this.strike(active)) continue;
      const { kind, delayMs } = active.rule;
      if (kind !== 'slow' && kind !== 'hang') return active;
      await (kind === 'slow' ? sleep(delayMs ?? DEFAULT_DELAY_MS, release.signal) : hang(active.rule, release));
      release.signal?.throwIfAborted();
    }
    return undefined;
  }

  /** {@link suffer}, for calls that fail as a whole: throws where the call is not to go through at all. */
  async before(drawn: readonly ActiveRule[], key: string, release: Release): Promise<FaultRule | undefined> {
    const rule = (await this.suffer(drawn, release))?.rule;
    if (rule && failsBefore(rule)) throw faultError(rule, key);
    return rule;
  }
}

function failsBefore(rule: FaultRule): boolean {
  return rule.kind === 'error-before' || rule.kind === 'full';
}

/** The error that a rule deals. */
export function faultError(rule: FaultRule, key: string): StoreError {
  const kind = rule.errorKind ?? (rule.kind === 'full' ? 'full' : 'transient');
  const message = `injected fault: ${rule.kind} in ${rule.verb} of ${JSON.stringify(key)}`;
  return new StoreError(kind, { message }, { permission: rule.permission });
}

async function hang(rule: FaultRule, release: Release): Promise<void> {
  const ends = AbortSignal.any(release.signal ? [release.signal, release.closed] : [release.closed]);
  if (!ends.aborted) {
    await new Promise<void>((resolve) => ends.addEventListener('abort', () => resolve(), { once: true }));
  }
  release.signal?.throwIfAborted();
  throw new StoreError('transient', { message: `injected fault: ${rule.verb} hung until the store was closed` });
}
