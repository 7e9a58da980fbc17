// Reclaim policies by name.

import { UsageError } from './core/errors.ts';
import { ClockPolicy } from './mm/vmscan/clock.ts';
import { MglruPolicy } from './mm/vmscan/mglru.ts';
import { FifoPolicy } from './mm/vmscan/fifo.ts';
import type { ReclaimPolicy } from './mm/vmscan/policy.ts';
import { TwoListPolicy } from './mm/vmscan/two-list.ts';

const MAKERS: Readonly<Record<string, () => ReclaimPolicy>> = {
  'two-list': () => new TwoListPolicy(),
  fifo: () => new FifoPolicy(),
  clock: () => new ClockPolicy(),
  mglru: () => new MglruPolicy(),
};

/** Names of the reclaim policies. */
export const POLICY_NAMES: readonly string[] = Object.keys(MAKERS);

/** A fresh policy. */
export function makePolicy(name: string): ReclaimPolicy {
  const make = Object.hasOwn(MAKERS, name) ? MAKERS[name] : undefined;
  if (!make) throw new UsageError(`policy ${name}: expected ${POLICY_NAMES.join(', ')}`);
  return make();
}
