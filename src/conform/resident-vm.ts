// A VM whose memory is always present in the host: what a check of paging needs, and nothing that
// could get in its way.

import {
  HPAGE_PMD_NR,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  MAP_VM_WRITE,
} from '../../assembly/abi.ts';
import type { Core, CoreBuild } from '../core/load.ts';
import { loadCore } from '../core/load.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { MemoryRegion } from '../kvm/kvm.ts';
import { AGING_PRESETS } from '../mm/aging.ts';
import type { MmHandle } from '../mm/mm.ts';

/** Pages of the first memslot: 4 MiB. */
const PAGES = 1024;
const HVN = 0x1000;

/** Options of residentVm(). */
export interface ResidentVmOptions {
  /** KVM generation; default 6.1. */
  readonly generation?: string;
  /** Host frames; default twice the first memslot. */
  readonly frames?: number;
  /** More memslots than the first, which holds gfns 0 to 1023. */
  readonly regions?: readonly MemoryRegion[];
  /** Host huge pages behind gfns 512 to 1023: default false. */
  readonly huge?: boolean;
  /** Build of the core; default release. */
  readonly build?: CoreBuild;
}

function anonymousMm(core: Core): MmHandle {
  const { x } = core;
  const id = x.mmCreate();
  return {
    id,
    registerNotifier: () => 1,
    getUserPages(t, at) {
      const hvn = t.stack[at + 1] as number;
      if (x.hpteGet(id, hvn) === 0) x.doAnonymousPage(id, hvn, MAP_VM_WRITE);
      const pfn = (x.hpteGet(id, hvn) >>> 0) >>> HPTE_PFN_SHIFT;
      x.getPage(pfn);
      return t.done(at, pfn);
    },
  };
}

/** Maps a huge page of fresh frames at an aligned hvn, as a transparent huge page fault does. */
export function mapHuge(core: Core, mm: number, hvn: number): void {
  const { x } = core;
  // Frames of a fresh core come in ascending order, so the first aligned one starts a huge page.
  let first = x.frameAlloc();
  while (first % HPAGE_PMD_NR !== 0) first = x.frameAlloc();
  for (let i = 1; i < HPAGE_PMD_NR; i++) x.frameAlloc();
  x.hpmdSet(mm, hvn, ((first << HPTE_PFN_SHIFT) | HPTE_PRESENT | HPTE_WRITE) >>> 0);
}

/** Makes the VM on a fresh core. */
export function residentVm(options: ResidentVmOptions = {}): Kvm {
  const core = loadCore(options.build);
  core.x.frameInit(options.frames ?? 2 * PAGES);
  const kvm = new Kvm({
    core,
    mm: anonymousMm(core),
    aging: AGING_PRESETS.clear_flush_young,
    generation: options.generation ?? '6.1',
    // What is compared with the architecture goes without a kernel's known deviations from it.
    quirks: false,
  });
  kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn: HVN });
  if (options.huge === true) mapHuge(core, kvm.mm.id, HVN + PAGES / 2);
  for (const region of options.regions ?? []) kvm.setUserMemoryRegion(region);
  return kvm;
}
