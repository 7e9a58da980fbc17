// (g) and (h): what notifiers do to ranges: test-and-clear-young, invalidate_range, and the munmap of
// the VMM that calls it.
import { AGE_CLEAR, PT_ACCESSED_BIT, SLOT_RMAP, YOUNG_BITMAP_PAGES } from '../../assembly/abi.ts';
import { Filled, repeat } from '../lib/machine.ts';
import { best, compared, cpuTime, paired, series } from '../lib/measure.ts';
import { native } from '../lib/native.ts';
import type { Row } from '../lib/row.ts';

const GIB = 262_144;
/** Passes of a round; the native loop makes as many. */
const PASSES = 5;

function options(generation: string | undefined): { generation?: string } {
  return generation === undefined ? {} : { generation };
}

/** Sets the A bit of every page's spte, as the processor would; the native loop does the same. */
function use(machine: Filled): () => void {
  const { mem, x } = machine.vm.core;
  const heads = mem.load32((x.slotPtr(0) >>> 0) + SLOT_RMAP) >>> 2;
  const accessed = 1 << PT_ACCESSED_BIT;
  return () => {
    const { u32 } = mem;
    for (let i = 0; i < machine.pages; i++) {
      const sptep = (u32[heads + i] as number) >>> 2;
      u32[sptep] = (u32[sptep] as number) | accessed;
    }
  };
}

/** (g): per spte, in bulk and one page a call. */
export function ageing(rounds: number, withNative: boolean, generation?: string): Row[] {
  const machine = new Filled(GIB, options(generation));
  const { x } = machine.vm.core;
  const mm = machine.vm.mm.id;
  const { hvn } = machine;
  const again = use(machine);
  const bulk = (): number => {
    again();
    return cpuTime(() => x.ageHvaRange(mm, hvn, hvn + GIB, AGE_CLEAR)) / GIB;
  };
  const byPage = (): number => {
    again();
    return (
      cpuTime(() => {
        for (let at = hvn; at < hvn + GIB; at++) x.ageHvaRange(mm, at, at + 1, AGE_CLEAR);
      }) / GIB
    );
  };
  const pageByPage = (): number => {
    again();
    return (
      cpuTime(() => {
        for (let at = hvn; at < hvn + GIB; at += YOUNG_BITMAP_PAGES) {
          x.testClearYoung(mm, at, at + YOUNG_BITMAP_PAGES, AGE_CLEAR);
        }
      }) / GIB
    );
  };
  const loop = (what: string) =>
    withNative ? () => native('loops', what, `${GIB}`).ns / GIB : undefined;
  const common = { letter: 'g', unit: 'ns', ...options(generation) } as const;
  bulk();
  return [
    {
      ...common,
      name: 'test-and-clear-young in bulk, per spte',
      ...paired(rounds, () => best(PASSES, bulk), loop('age')),
      limit: { ratio: 1.3 },
    },
    {
      ...common,
      name: 'test-and-clear-young by page, the loop and its answers in the core',
      ...paired(rounds, () => best(PASSES, pageByPage), loop('pages')),
      limit: { ratio: 1.3 },
    },
    {
      ...common,
      name: 'test-and-clear-young by page, a call from the host each',
      ...paired(rounds, () => best(PASSES, byPage), loop('pages')),
      limit: { ratio: 1.3 },
    },
  ];
}

interface Range {
  readonly label: string;
  readonly pages: number;
  readonly limit?: number;
}

const RANGES: readonly Range[] = [
  { label: '1 MiB', pages: 256 },
  { label: '1 GiB', pages: GIB, limit: 3 },
];

function ms(letter: string, name: string, values: readonly number[], limit?: number): Row {
  const common = { letter, name, unit: 'ms', value: series(values) } as const;
  return limit === undefined ? common : { ...common, limit: { value: limit } };
}

/** Thins a dense mapping: one page in 512 stays mapped. */
function thin(machine: Filled): void {
  const { x } = machine.vm.core;
  const mm = machine.vm.mm.id;
  for (let page = 0; page < machine.pages; page += 512) {
    const at = machine.hvn + page;
    x.unmapHvaRange(mm, at + 1, at + Math.min(512, machine.pages - page));
  }
  x.flushTlbs();
}

/** Rows of one size: every page mapped, one in 512, none; then the VMM's munmap of each. */
function range(machine: Filled, { label, pages, limit }: Range, rounds: number): Row[] {
  const { vm, hvn } = machine;
  const { x } = vm.core;
  const invalidate = (): number => {
    const ns = cpuTime(() => x.unmapHvaRange(vm.mm.id, hvn, hvn + pages));
    x.flushTlbs();
    return ns / 1e6;
  };
  const munmap = (): number => {
    const ns = cpuTime(() => vm.mm.munmap(hvn, pages));
    vm.mm.mmap({ hvn, npages: pages });
    return ns / 1e6;
  };
  const dense = repeat(rounds, () => {
    machine.touch(pages);
    return invalidate();
  });
  const sparse = repeat(rounds, () => {
    machine.touch(pages);
    thin(machine);
    return invalidate();
  });
  const nothing = repeat(rounds, invalidate);
  const densely = repeat(rounds, () => {
    machine.touch(pages);
    return munmap();
  });
  const absent = repeat(rounds, munmap);
  return [
    ms('h', `invalidate_range of ${label}, dense`, dense, limit),
    ms('h', `invalidate_range of ${label}, one page in 512`, sparse),
    ms('h', `invalidate_range of ${label}, nothing mapped`, nothing),
    ms('h', `munmap of ${label}, dense`, densely),
    ms('h', `munmap of ${label}, nothing mapped`, absent),
  ];
}

/** (h): ranges of 1 MiB and 1 GiB. */
export function ranges(rounds: number, generation?: string): Row[] {
  return RANGES.flatMap((one) => {
    const machine = new Filled(one.pages, options(generation));
    return range(machine, one, rounds).map((row) => ({ ...row, ...options(generation) }));
  });
}

/** (h): 64 GiB of which 128 MiB are mapped. */
export function sparseRange(rounds: number): Row[] {
  const pages = 64 * GIB;
  const mapped = 32_768;
  const machine = new Filled(mapped, { guestPages: pages, memoryPages: mapped + 4096 });
  return range(machine, { label: '64 GiB', pages }, rounds)
    .filter(({ name }) => !name.includes('one page'))
    .map((row) => ({ ...row, name: row.name.replace('dense', '128 MiB of it mapped') }));
}

/** (h) and (j): a guest of 64 GiB all of whose 16 M pages are touched, in one instance. */
export function largestGuest(): Row[] {
  const pages = 64 * GIB;
  const started = process.cpuUsage();
  const machine = new Filled(pages);
  const { user, system } = process.cpuUsage(started);
  const { vm, hvn, used } = machine;
  const mib = used / 2 ** 20;
  const invalidate = cpuTime(() => vm.core.x.unmapHvaRange(vm.mm.id, hvn, hvn + pages)) / 1e6;
  vm.core.x.flushTlbs();
  const munmap = cpuTime(() => vm.mm.munmap(hvn, pages)) / 1e6;
  return [
    {
      letter: 'j',
      name: 'guest of 64 GiB, 16,777,216 pages touched',
      unit: 'MiB',
      ...compared([mib], [4096]),
      counts: {
        accesses: vm.stats.get('accesses'),
        rss_mib: Math.round(process.memoryUsage().rss / 2 ** 20),
        cpu_ms: Math.round((user + system) / 1000),
      },
    },
    ms('h', 'invalidate_range of 64 GiB, dense', [invalidate]),
    ms('h', 'munmap of 64 GiB, dense, sptes gone', [munmap]),
  ];
}
