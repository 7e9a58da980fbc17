// KVM's statistics (/sys/kernel/debug/kvm) of the emulator: some are told by events, some are read.

import {
  KVM_MAX_RMAP,
  ROLE_LEVEL_MASK,
  SP_PRESENT,
  SP_ROLE,
  SP_UNSYNC,
} from '../../../assembly/abi.ts';
import type { Core } from '../../core/load.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { RecordedHost } from './host-ops.ts';
import type { RecordedVcpu } from './recorded-vcpu.ts';
import type { KvmEvent } from './recording.ts';
import { activePages } from './shadow-state.ts';

/** KVM statistics that a step's events tell. */
const COUNTED_EVENTS: Readonly<Record<string, string>> = {
  flush_remote_tlbs: 'remote_tlb_flush_requests',
  emulate_insn: 'insn_emulation',
};
const COUNTED_SHADOW_EVENTS: Readonly<Record<string, string>> = {
  sp_zap: 'mmu_shadow_zapped',
  kvm_mmu_pte_write: 'mmu_pte_write',
};

/** Follows the statistics. */
export class KvmStatistics {
  readonly #core: Core;
  readonly #kvm: Kvm;
  readonly #cpu: RecordedVcpu;
  readonly #ops: RecordedHost;
  readonly #npt: boolean;
  #gauges: Record<string, number> = {};

  constructor(kvm: Kvm, cpu: RecordedVcpu, ops: RecordedHost, npt: boolean) {
    this.#core = kvm.core;
    this.#kvm = kvm;
    this.#cpu = cpu;
    this.#ops = ops;
    this.#npt = npt;
  }

  /** What moved since the last call; `events` are those in between. */
  delta(events: readonly KvmEvent[]): Record<string, number> {
    const out: Record<string, number> = {};
    const add = (name: string): void => {
      out[name] = (out[name] ?? 0) + 1;
    };
    let loading = false;
    let before = '';
    for (const event of events) {
      const name =
        COUNTED_EVENTS[event.t] ?? (this.#npt ? undefined : COUNTED_SHADOW_EVENTS[event.t]);
      const failed = event.t === 'emulate_insn' && event.fail === true;
      if (name !== undefined) add(failed ? 'insn_emulation_fail' : name);
      if (event.t === 'vmexit' && event.reason === 'invlpg') add('invlpg');
      if (event.t === 'sp_get' && event.created === true && !this.#npt) add('mmu_cache_miss');
      if (event.t === 'inject' && /^#PF.*\)$/.test(String(event.what))) add('pf_guest');
      if (event.t === 'fast_page_fault' && String(event.result).endsWith('fixed 1')) add('pf_fast');
      // A root that is loaded anew is flushed without being counted.
      if (event.t === (this.#npt ? 'load_root' : 'sp_get') && event.level === 4) loading = true;
      if (event.t === 'flush_all_tlb') add('tlb_flush');
      // A flush that the guest asked for has no event of its own; svm_set_cr4() flushes uncounted.
      const byCr4 = this.#npt && before === 'emulate_insn';
      const own = !byCr4 && before !== 'flush_all_tlb' && before !== 'flush_current_tlb';
      if (event.t === 'flush_asid_tlb' && own) add('tlb_flush');
      before = event.t;
      if (event.t === 'flush_current_tlb') {
        if (!loading) add('tlb_flush');
        loading = false;
      }
    }
    for (const [name, value] of Object.entries(this.#readGauges())) {
      const delta = value - (this.#gauges[name] ?? 0);
      if (delta !== 0) out[name] = delta;
      this.#gauges[name] = value;
    }
    // Until 5.13 what the notifiers zap stays counted.
    const large = this.#npt ? 0 : (out.pages_2m ?? 0) + events.filter(isLargeRmapZap).length;
    if (large !== 0) out.largepages = large;
    return out;
  }

  #readGauges(): Record<string, number> {
    const { x, mem } = this.#core;
    let small = 0;
    let large = 0;
    let unsync = 0;
    for (const sp of activePages(this.#core)) {
      const level = mem.load32(sp + SP_ROLE) & ROLE_LEVEL_MASK;
      unsync += mem.load32(sp + SP_UNSYNC);
      if (level === 1) small += mem.load32(sp + SP_PRESENT);
      else if (level === 2) large += largeSptes(mem.u32, x.spTable(sp) >>> 0);
    }
    return {
      pages_4k: small,
      pages_2m: large,
      mmu_unsync: unsync,
      ...this.#cpu.stats,
      max_mmu_rmap_size: this.#npt ? 0 : mem.load32(this.#kvm.ptr + KVM_MAX_RMAP),
      mmu_flooded: this.#ops.counter('shadow_pages_flooded'),
      mmu_pde_zapped: this.#ops.counter('pdes_zapped'),
    };
  }
}

/** Whether an event zaps a large spte by its rmap. */
function isLargeRmapZap({ t, old, by }: KvmEvent): boolean {
  return t === 'spte_zap' && by !== 'drop_spte' && String(old).includes('S');
}

function largeSptes(u32: Uint32Array, table: number): number {
  let n = 0;
  for (let i = 0; i < 512; i++) {
    const lo = u32[(table >>> 2) + i * 2] as number;
    if ((lo & 0x81) === 0x81) n++;
  }
  return n;
}
