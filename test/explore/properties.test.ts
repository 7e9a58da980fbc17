// Every property can fail: for each a mistake in a protocol that is otherwise right, made in the machine
// itself, that this property (perhaps among others) reports. Without it the same cell holds.
import { afterEach, describe, expect, test } from 'vitest';
import { PG_DIRTY } from '../../assembly/abi.ts';
import { interceptCores } from '../../src/core/load.ts';
import type { CoreExports } from '../../src/core/exports.ts';
import type { ExploredMachine } from '../../src/explore/machine.ts';
import { protocolPreset } from '../../src/explore/presets.ts';
import type { ProtocolPreset } from '../../src/explore/presets.ts';
import { exploreCell, PROPERTY_NAMES } from '../../src/explore/run.ts';
import { parseScenario } from '../../src/explore/scenario-file.ts';
import type { Violation } from '../../src/explore/search.ts';
import { scenarioOf } from '../../src/explore/scenarios.ts';
import type { Scenario, ScenarioVariant } from '../../src/explore/setup.ts';
import type { SeededBug } from '../../src/kvm/fault-protocol.ts';
import type { MmuNotifierSteps, NotifierStep } from '../../src/mm/mmu-notifier.ts';
import { LOCK_MMU } from '../../src/sched/locks.ts';

interface Mistake {
  readonly property: string;
  readonly scenario: string;
  readonly says: string;
  /** What the report says, where a property has more than one test. */
  readonly detail?: RegExp;
  readonly preset?: string;
  /** Fields of a scenario file, in place of a standard scenario. */
  readonly own?: object;
  readonly bug?: SeededBug;
  readonly mutate?: ScenarioVariant['mutate'];
  readonly core?: (x: CoreExports) => Partial<CoreExports>;
}

/** Replaces one op of the registered notifier. */
const op =
  (name: keyof MmuNotifierSteps, step: NotifierStep) =>
  (machine: ExploredMachine): void =>
    machine.replaceOps(({ steps = {} }) => ({
      steps: new Proxy(steps, {
        get: (of, key) => (key === name ? step : bound(of, key)),
      }),
    }));
function bound(of: object, key: string | symbol): unknown {
  const value: unknown = Reflect.get(of, key);
  return typeof value === 'function' ? (value.bind(of) as unknown) : value;
}
/** Makes pageout believe that a page is clean. */
const dropsDirtyPages = (x: CoreExports): Partial<CoreExports> => ({
  pageoutFree: (pfn, workingset, before) => {
    x.lruSetFlags(pfn, 0, PG_DIRTY);
    return x.pageoutFree(pfn, workingset, before);
  },
});
const nothing: NotifierStep = (t, at) => t.done(at, 0);

const MISTAKES: readonly Mistake[] = [
  {
    property: 'no_access_to_freed_frame',
    scenario: 'hit-zap',
    says: 'the TLBs are not flushed',
    mutate: (machine) => {
      if (machine.kvm !== null) machine.kvm.flushRemoteTlbs = (): void => {};
    },
  },
  {
    property: 'no_mapping_of_freed_frame',
    scenario: 'hit-zap',
    says: 'invalidate_range_start leaves the sptes',
    mutate: op('invalidateRangeStart', nothing),
  },
  {
    property: 'no_stale_mapping',
    scenario: 'fault-zap',
    says: 'the fault does not check the sequence',
    bug: 'no-retry',
  },
  {
    property: 'no_spte_after_invalidation',
    scenario: 'fault-mprotect',
    says: 'a change of protection is not told',
    mutate: op('invalidateRangeStart', nothing),
  },
  {
    property: 'no_lost_write',
    scenario: 'hit-reclaim',
    own: { page: 'swapped', actors: [{ actor: 'vcpu', accesses: ['read 0'] }] },
    says: 'reclaim dropped a dirty page as if it were clean, and it is read',
    detail: /^page 0 reads 0, /,
    core: dropsDirtyPages,
  },
  {
    property: 'no_lost_write',
    scenario: 'release',
    own: { page: 'mapped', actors: [{ actor: 'kswapd' }] },
    says: 'reclaim drops a dirty page as if it were clean, and nobody reads it',
    detail: /^page 0 holds 0 in swap slot/,
    core: dropsDirtyPages,
  },
  {
    property: 'cow_isolation',
    scenario: 'fork',
    says: 'fork() does not write-protect the sptes',
    mutate: op('invalidateRangeStart', nothing),
  },
  {
    property: 'young_never_invented',
    scenario: 'age',
    says: 'the secondary MMU always answers young',
    mutate: op('clearYoung', (t, at) => t.done(at, 1)),
  },
  {
    property: 'no_use_after_free',
    scenario: 'unregister',
    says: 'unregister does not wait for calls',
    detail: /runs after unregister returned/,
    bug: 'no-synchronize',
  },
  {
    property: 'no_missed_invalidation',
    scenario: 'register',
    says: 'register does not keep invalidations out (mm_take_all_locks)',
    mutate: (machine) => {
      machine.mm.notifiers.takeAllLocks = false;
    },
  },
  {
    property: 'frames_exact',
    scenario: 'fault-zap',
    says: 'the fault keeps its reference',
    core: (x) => ({
      faultInstall: (vcpu, pfn, ...rest) => {
        x.getPage(pfn);
        return x.faultInstall(vcpu, pfn, ...rest);
      },
    }),
  },
  {
    property: 'deadlock',
    scenario: 'fault-reclaim',
    says: 'an op keeps mmu_lock',
    mutate: op('invalidateRangeStart', (t, at) => t.lock(at, 0, LOCK_MMU) && t.done(at, 0)),
  },
  {
    property: 'kernel_bug',
    scenario: 'fault-zap',
    says: 'an op runs into a BUG()',
    mutate: op('invalidateRangeStart', () => {
      throw new Error('BUG');
    }),
  },
];

function explored(mistake: Mistake, wrong: boolean): readonly Violation[] {
  const preset = protocolPreset(mistake.preset ?? '6.x') as ProtocolPreset;
  const schema = 'shadowmmu-explore-scenario-1';
  const scenario =
    mistake.own === undefined
      ? (scenarioOf(mistake.scenario) as Scenario)
      : parseScenario(JSON.stringify({ schema, ...mistake.own }), 'own.json');
  if (wrong && mistake.core !== undefined) {
    const { core } = mistake;
    interceptCores((x) => ({ ...x, ...core(x) }));
  }
  const mutated: Scenario = {
    ...scenario,
    build: (of, variant) =>
      scenario.build(of, {
        ...variant,
        ...(wrong ? { mutate: mistake.mutate } : {}),
      } as ScenarioVariant),
  };
  const cell = exploreCell(preset, mutated, {
    bug: wrong ? mistake.bug : undefined,
    // A leak makes ever new states.
    maxStates: 20_000,
  });
  return cell.violations;
}

afterEach(() => interceptCores(undefined));

describe('properties', () => {
  test('each has a mistake that breaks it', () => {
    const broken = new Set(MISTAKES.map((mistake) => mistake.property));
    expect([...broken].toSorted()).toEqual(PROPERTY_NAMES.toSorted());
  });

  test.each(MISTAKES)('$property fails when $says', (mistake) => {
    expect(explored(mistake, false)).toEqual([]);
    const found = explored(mistake, true).find(({ property }) => property === mistake.property);
    expect(found?.detail).toMatch(mistake.detail ?? /./);
  });
});
