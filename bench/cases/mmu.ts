// (e), (g), (h), (j), (k), (l): single mechanisms of the emulator, on a machine with memory for all.
import { AGE_CLEAR, AGE_DROP } from '../../assembly/abi.ts';
import { type Vm, createVm } from '../../src/machine.ts';
import { type Series, cpuTime, series } from '../lib/measure.ts';
import { native } from '../lib/native.ts';

/** One measured mechanism. */
export interface MmuRow {
  readonly benchmark: string;
  readonly name: string;
  readonly unit: 'ns' | 'ms' | 'bytes';
  readonly value: Series;
  /** The same loop in C, where there is one. */
  readonly reference?: number;
}

const BATCH = 8192;

function machine(pages: number, protocol = 'v3'): { vm: Vm; records: number; touch: () => void } {
  const vm = createVm({
    memoryPages: pages + 4096,
    guestPages: pages,
    // As many as a dense layout needs; the default serves any layout.
    tablePages: Math.ceil(pages / 256) + 64,
    swapPages: 65_536,
    protocol,
    guestTables: 'resident',
    yardstick: false,
    prefetch: false,
  });
  const records = vm.core.x.arenaAlloc(pages * 8) >>> 0;
  const { u32 } = vm.core.mem;
  for (let i = 0; i < pages; i++) {
    u32[records / 4 + 2 * i] = ((i << 12) | 1) >>> 0;
    u32[records / 4 + 2 * i + 1] = i >>> 20;
  }
  const touch = (): void => {
    for (let i = 0; i < pages; i += BATCH) {
      vm.runRecords(records + i * 8, Math.min(BATCH, pages - i));
    }
  };
  touch();
  return { vm, records, touch };
}

function repeat(rounds: number, once: () => number): Series {
  once();
  once();
  return series(Array.from({ length: rounds }, once));
}

/** (e) a minor fault after the spte was dropped: the vmexit, the walk, the lookup, the mapping. */
function minorFault(rounds: number): MmuRow {
  const pages = 16_384;
  const { vm, touch } = machine(pages);
  const { x } = vm.core;
  const first = vm.hvnOf(vm.data.base);
  const value = repeat(rounds, () => {
    x.ageHvaRange(vm.mm.id, first, first + pages, AGE_DROP);
    x.flushTlbs();
    return cpuTime(touch) / pages;
  });
  return { benchmark: 'e', name: 'minor fault after age_page dropped the spte', unit: 'ns', value };
}

/** (g) test-and-clear-young, and (h) invalidation of 1 GiB. */
function ranges(rounds: number, withNative: boolean): MmuRow[] {
  const pages = 262_144;
  const { vm, touch } = machine(pages);
  const { x } = vm.core;
  const mm = vm.mm.id;
  const first = vm.hvnOf(vm.data.base);
  const age = repeat(rounds, () => {
    x.flushTlbs();
    touch();
    return cpuTime(() => x.ageHvaRange(mm, first, first + pages, AGE_CLEAR)) / pages;
  });
  const single = repeat(rounds, () => {
    return (
      cpuTime(() => {
        for (let i = 0; i < 65_536; i++) x.ageHvaRange(mm, first + i, first + i + 1, AGE_CLEAR);
      }) / 65_536
    );
  });
  const unmap = repeat(rounds, () => {
    touch();
    return cpuTime(() => x.unmapHvaRange(mm, first, first + pages)) / 1e6;
  });
  const empty = repeat(rounds, () => {
    return cpuTime(() => x.unmapHvaRange(mm, first, first + pages)) / 1e6;
  });
  const c = withNative ? native('loops', 'age', `${pages}`).ns / pages : undefined;
  return [
    {
      benchmark: 'g',
      name: 'test-and-clear-young in bulk, per spte',
      unit: 'ns',
      value: age,
      ...(c === undefined ? {} : { reference: c }),
    },
    { benchmark: 'g', name: 'test-and-clear-young by page, per call', unit: 'ns', value: single },
    { benchmark: 'h', name: 'invalidate_range of 1 GiB, dense', unit: 'ms', value: unmap },
    { benchmark: 'h', name: 'invalidate_range of 1 GiB, nothing mapped', unit: 'ms', value: empty },
  ];
}

/** Linear memory that a machine uses. */
function used(vm: Vm): number {
  return vm.core.x.memoryTop() >>> 0;
}

/** (j) linear memory for each resident page: frame, host pte, guest pte, spte, rmaps. */
function memoryPerPage(): MmuRow {
  const small = machine(65_536);
  const large = machine(262_144);
  // The records that the benchmark itself put there: 8 bytes a page.
  const bytes = (used(large.vm) - used(small.vm)) / (262_144 - 65_536) - 8;
  return {
    benchmark: 'j',
    name: 'linear memory per resident guest page',
    unit: 'bytes',
    value: series([bytes]),
  };
}

/** (k) one access a call of run(). */
function singleCalls(rounds: number): MmuRow {
  const { vm, records } = machine(64);
  const vcpu = vm.kvm.vcpus[0];
  const calls = 1_000_000;
  const value = repeat(rounds, () => {
    return (
      cpuTime(() => {
        for (let i = 0; i < calls; i++) vcpu?.run(records + (i & 63) * 8, 1);
      }) / calls
    );
  });
  return { benchmark: 'k', name: 'one access a call from the embedder', unit: 'ns', value };
}

/** (l) a machine from nothing to its first access. */
function startUp(rounds: number): MmuRow {
  const value = repeat(rounds, () => cpuTime(() => void machine(1)) / 1e6);
  return { benchmark: 'l', name: 'machine made and first access', unit: 'ms', value };
}

/** All of them. */
export function mechanisms(rounds: number, withNative: boolean): MmuRow[] {
  return [
    minorFault(rounds),
    ...ranges(rounds, withNative),
    memoryPerPage(),
    singleCalls(rounds),
    startUp(rounds),
  ];
}
