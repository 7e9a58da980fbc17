// What a recording of a kernel can show: tracepoints, probed functions and statistics that a kernel does not have are
// in none of its recordings, and some of its functions tell less. A step of ours is compared as the recorder would
// have shown it on that kernel (docs/fidelity.md, "Recordings of other kernels").

import { isSince, type KernelVersion } from './kernel.ts';
import { pfecText } from './layout.ts';
import type { OurStep } from './our-step.ts';
import type { JsonObject, KvmEvent, PageState, Step } from './recording.ts';

/** What the recordings of a kernel lack. */
interface KernelView {
  /** Events that come from tracepoints or functions that the kernel does not have. */
  readonly lacks: ReadonlySet<string>;
  /** The statistics of KVM that there are, by our names for them. */
  readonly statistics: ReadonlyMap<string, string>;
  /** The error code of kvm_page_fault has 64 bits (6.0), else 32. */
  readonly wideFaultCode: boolean;
  /** Bits that mark an spte as one for MMIO besides the reserved one (SPTE_MMIO_MASK, until 5.12). */
  readonly mmioMark: bigint;
  /** Bit 11 of an spte says that it is present for the MMU (SPTE_MMU_PRESENT_MASK, 5.13). */
  readonly presentBit: boolean;
  /** mmu_spte_clear_track_bits() returns the spte that it cleared, not only that there was one. */
  readonly zapTells: boolean;
  /** Names of functions that change sptes, where they are others; null: the compiler made them parts of others. */
  readonly callers: Readonly<Record<string, string | null>>;
  /** Events of pages whose frame the recorder reads wrong: the kernel prints it in decimal (until 5.13). */
  readonly misread: ReadonlySet<string>;
  /** The kernel's modules have type information, by which the recorder finds the shadow pages. */
  readonly shadowPages: boolean;
  /** vmscan_lru_isolate tells the mode of isolation (until 6.10, commit 3dfbb555c98a). */
  readonly isolateMode: boolean;
}

function named(names: string, others: readonly [string, string][] = []): Map<string, string> {
  return new Map([...names.split(' ').map((name): [string, string] => [name, name]), ...others]);
}

/** kvm_vm_stats_desc and kvm_vcpu_stats_desc in arch/x86/kvm/x86.c. */
const STATISTICS = named(
  'pf_taken pf_fixed pf_emulate pf_spurious pf_fast pf_mmio_spte_created pf_guest tlb_flush invlpg insn_emulation ' +
    'insn_emulation_fail mmu_shadow_zapped mmu_pte_write mmu_pde_zapped mmu_flooded mmu_recycled mmu_cache_miss ' +
    'mmu_unsync pages_4k pages_2m remote_tlb_flush_requests max_mmu_rmap_size',
);

const ALL: KernelView = {
  lacks: new Set(),
  statistics: STATISTICS,
  wideFaultCode: true,
  mmioMark: 0n,
  presentBit: true,
  zapTells: true,
  callers: {},
  misread: new Set(),
  shadowPages: true,
  isolateMode: true,
};

const SINCE_6_10: KernelView = { ...ALL, isolateMode: false };

const SINCE_6_12: KernelView = {
  ...SINCE_6_10,
  callers: { kvm_rmap_zap_collapsible_sptes: 'kvm_mmu_zap_collapsible_sptes' },
};

/** debugfs_entries in arch/x86/kvm/x86.c of 5.10. */
const STATISTICS_5_10 = named(
  'pf_guest tlb_flush invlpg insn_emulation insn_emulation_fail mmu_shadow_zapped mmu_pte_write mmu_pde_zapped ' +
    'mmu_flooded mmu_recycled mmu_cache_miss mmu_unsync largepages',
  [['pf_mapped', 'pf_fixed']],
);

const BEFORE_5_13: KernelView = {
  // Tracepoints: virt/kvm's kvm_unmap_hva_range and the like are ARM's there, and tdp_mmu.c has none of its own.
  // Functions: svm_flush_tlb() does for all its callers.
  lacks: new Set(
    (
      'tp_kvm_unmap_hva_range tp_kvm_age_hva tp_kvm_test_age_hva tp_kvm_set_spte_hva tdp_spte split_huge_page ' +
      'flush_all_tlb flush_current_tlb flush_asid_tlb folio_activate lru_gen_look_around'
    ).split(' '),
  ),
  statistics: STATISTICS_5_10,
  wideFaultCode: false,
  mmioMark: 3n << 52n,
  presentBit: false,
  zapTells: false,
  callers: {
    kvm_zap_all_rmap_sptes: 'kvm_unmap_rmapp',
    mmu_set_spte: 'set_spte',
    paging64_sync_page: 'set_spte',
    rmap_write_protect: null,
  },
  misread: new Set(['lru_insert', 'lru_activate', 'vmscan_write']),
  shadowPages: false,
  isolateMode: true,
};

/** First kernels of the views, the newest first. */
const VIEWS: readonly (KernelVersion & { readonly view: KernelView })[] = [
  { major: 6, minor: 12, view: SINCE_6_12 },
  { major: 6, minor: 10, view: SINCE_6_10 },
  { major: 5, minor: 13, view: ALL },
];

/** Shows steps of ours as recordings of a kernel would. */
export class RecorderView {
  readonly #view: KernelView;
  readonly #npt: boolean;

  constructor(kernel: KernelVersion, npt: boolean) {
    this.#view = VIEWS.find((first) => isSince(kernel, first))?.view ?? BEFORE_5_13;
    this.#npt = npt;
  }

  /** Whether shadow pages are listed. */
  get shadowPages(): boolean {
    return this.#view.shadowPages;
  }

  /** A step of ours as the recorder shows it. */
  step(ours: OurStep): OurStep {
    if (this.#view !== BEFORE_5_13) {
      const newer = !this.#view.isolateMode;
      const events = newer ? ours.events.map((event) => this.#newer(event)) : ours.events;
      return { ...ours, events, counters: this.#counters(ours.counters) };
    }
    return {
      ...ours,
      events: ours.events.flatMap((event) => this.#event(event)),
      counters: this.#counters(ours.counters),
      pages: ours.pages.map((page) => this.#page(page)),
    };
  }

  /** A recorded step without what the recorder misread. */
  recorded(step: Step): Step {
    const { events } = step;
    if (this.#view.misread.size === 0 || events === undefined) return step;
    return { ...step, events: events.flatMap((event) => this.#read(event)) };
  }

  /** Which page was put on a list is known by its frame alone; that one was written, without it. */
  #read(event: KvmEvent): KvmEvent[] {
    if (!this.#view.misread.has(event.t)) return [event];
    return event.t === 'vmscan_write' ? [{ t: event.t }] : [];
  }

  #event(event: KvmEvent): KvmEvent[] {
    const { lacks, misread } = this.#view;
    if (lacks.has(event.t)) return [];
    if (misread.has(event.t)) return this.#read(event);
    if (event.t === 'sp_zap' && this.#npt) return [];
    const shown = this.#shortened(event);
    if (event.t === 'spte_zap') return this.#zap(shown);
    if (event.t === 'spte_update') return this.#update(shown);
    if (event.t === 'kvm_page_fault') return [this.#fault(shown)];
    if (event.t === 'check_mmio_spte') return [this.#mmio(shown)];
    return [shown];
  }

  /** The spte strings of an event, without the present bit. */
  #shortened(event: KvmEvent): KvmEvent {
    if (this.#view.presentBit) return event;
    const { spte, new: fresh, old } = event;
    return {
      ...event,
      ...(typeof spte === 'string' ? { spte: withoutPresent(spte) } : {}),
      ...(typeof old === 'string' ? { old: withoutPresent(old) } : {}),
      ...(typeof fresh === 'string' ? { new: withoutPresent(fresh) } : {}),
    };
  }

  /** An event of a kernel of which nothing is lacking. */
  #newer(event: KvmEvent): KvmEvent {
    if (event.t === 'spte_zap') return { ...event, by: this.#caller(event) };
    if (event.t !== 'vmscan_lru_isolate') return event;
    const { isolate_mode: _, ...rest } = event;
    return rest;
  }

  #fault(event: KvmEvent): KvmEvent {
    if (this.#view.wideFaultCode) return event;
    const code = Number(event.code) % 2 ** 32;
    return { ...event, code, bits: pfecText(code) };
  }

  #mmio(event: KvmEvent): KvmEvent {
    const { mmioMark } = this.#view;
    const info = String(event.info).replace(/(?<=spte )[0-9a-f]+/, (spte) => {
      return (BigInt(`0x${spte}`) | mmioMark).toString(16);
    });
    return { ...event, info };
  }

  /** What was zapped is not told; of an entry for MMIO, which is not present, nothing is. */
  #zap(event: KvmEvent): KvmEvent[] {
    if (this.#view.zapTells) return [event];
    if (String(event.pfn).startsWith('#mmio')) return [];
    return [{ t: event.t, old: null, by: this.#caller(event) }];
  }

  /** Of set_spte(), only what makes a flush due is recorded. */
  #update(event: KvmEvent): KvmEvent[] {
    const by = this.#caller(event);
    if (by === 'set_spte' && event.flush !== 1) return [];
    return [{ ...event, by }];
  }

  #caller({ by }: KvmEvent): string | null {
    const name = String(by);
    const { callers } = this.#view;
    return name in callers ? (callers[name] as string | null) : name;
  }

  #counters(counters: Readonly<Record<string, number>>): Record<string, number> {
    const { statistics } = this.#view;
    return Object.fromEntries(
      Object.entries(counters).flatMap(([name, n]): [string, number][] => {
        const shown = statistics.get(name);
        return shown === undefined ? [] : [[shown, n]];
      }),
    );
  }

  #page(page: PageState): PageState {
    const { spte } = page.shadow;
    if (this.#view.presentBit || typeof spte !== 'string') return page;
    const shadow: JsonObject = { ...page.shadow, spte: withoutPresent(spte) };
    return { ...page, shadow };
  }
}

/** An spte's string without the letter of its present bit. */
function withoutPresent(spte: string): string {
  return /\/..[T-]$/.test(spte) ? spte.slice(0, -1) : spte;
}
