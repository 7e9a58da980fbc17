// What one operation costs: the time of the functions that do it, divided by how often it was done.

import type { CounterName } from '../stats/counters.ts';
import type { CounterValues } from '../stats/stats.ts';
import type { FunctionTime } from './cpu-profile.ts';

/** One kind of operation. */
interface OperationKind {
  readonly kind: string;
  readonly meaning: string;
  /** Counters whose sum is the number of operations. */
  readonly counters: readonly CounterName[];
  /** Names of functions; of the core, with their file. The outermost of a stack counts. */
  readonly functions: RegExp;
  /** `self`: the functions alone; `total`: with everything that they call. */
  readonly time: 'self' | 'total';
}

/** The kinds, from the access path outwards. */
const KINDS: readonly OperationKind[] = [
  {
    kind: 'hit',
    meaning: 'access path and TLB lookups, per reference',
    counters: ['accesses'],
    functions:
      /^(run\/\w+(<\w+>)?|access_path\/(hitL2|missL1|missUnknown|missAll|slowAccess|account|accessKnown)|straight\/known_page\/knownPage|tlb\/\w+\/(tlbLookup|probe|find|touch|mayHold)\w*)$/,
    time: 'self',
  },
  {
    kind: 'walk',
    meaning: 'hardware walk and TLB fill, per TLB miss',
    counters: ['tlb_misses'],
    functions:
      /^(access_path\/(walk|fill|nested)\w*|straight\/known_fault\/fillKnown|mmu\/(shadow_walk|leaf_table|nested_walk)\/\w+|tlb\/\w+\/(tlbFill|fill|enter|place|needsPurge|purge)\w*)$/,
    time: 'self',
  },
  {
    kind: 'fault',
    meaning: 'vmexit for a shadow page fault, all that follows from it included',
    counters: ['shadow_page_faults'],
    functions: /^(kvmPageFault|access_path\/faultAndFill|straight\/known_fault\/serveKnown)$/,
    time: 'total',
  },
  {
    kind: 'age',
    meaning: 'ageing of host pages in the shadow MMU, per notifier call',
    counters: ['age_page_calls', 'test_young_calls'],
    functions:
      /^(mmu\/age\/ageHvaRange|straight\/plain\/(isPlainReferenced|askPlain)|straight\/known_look\/lookKnown)$/,
    time: 'total',
  },
  {
    kind: 'drop',
    meaning: 'removal of one leaf spte',
    counters: ['sptes_dropped'],
    functions:
      /^mmu\/(age\/zapRmap|zap\/(dropSpte|clearSpteTrackBits))$|^straight\/(plain\/dropPlain|known_look\/dropKnown)$/,
    time: 'self',
  },
  {
    kind: 'flush',
    meaning: 'TLB flush of any scope, per vCPU',
    counters: ['tlb_flushes'],
    functions: /^(mmu\/flush\/\w+|tlb\/\w+\/(tlbFlush|retire|select|sweep|remove|allocTag)\w*)$/,
    time: 'self',
  },
  {
    kind: 'reclaim',
    meaning: 'host reclaim, per evicted page',
    counters: ['evictions'],
    functions:
      /^(mm\/(vmscan|lru|isolate|two_list|swap)|straight\/(evict|known_replace|reclaim|referenced|scan|shrink))\/\w+$/,
    time: 'self',
  },
  {
    kind: 'decode',
    meaning: 'decoding of the trace, per reference',
    counters: ['accesses'],
    functions: /^trace\/\w+\/\w+$/,
    time: 'self',
  },
];

/** Cost of one kind of operation. */
export interface OperationCost {
  readonly kind: string;
  readonly meaning: string;
  readonly count: number;
  readonly totalNs: number;
  /** null when the operation did not occur. */
  readonly nsEach: number | null;
}

/** Costs by kind. */
export function operationCosts(
  times: readonly FunctionTime[],
  counters: CounterValues,
): OperationCost[] {
  return KINDS.map(({ kind, meaning, counters: names, functions, time }) => {
    const count = names.reduce((sum, name) => sum + counters[name], 0);
    const totalNs = times
      .filter(({ name, side }) => side !== 'engine' && functions.test(name))
      .reduce((sum, entry) => sum + (time === 'self' ? entry.selfNs : entry.totalNs), 0);
    return { kind, meaning, count, totalNs, nsEach: count === 0 ? null : totalNs / count };
  });
}
