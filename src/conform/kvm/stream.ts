// Turns our event stream into the form of a recording's events, with the same names, bit strings
// and host pages relative to the slots.

import * as abi from '../../../assembly/abi.ts';
import { SCAN_STATUS } from '../../mm/khugepaged.ts';
import { EVENT_NAMES } from '../../events/names.ts';
import { gfnName, gpteGfn, gpteText, gvaName, hvnName, pfecText, spteText } from './layout.ts';
import { reclaimEvent } from './reclaim-events.ts';
import type { KvmEvent } from './recording.ts';
import {
  bitNames,
  FAULT_FLAGS,
  exceptionText,
  isLeaf,
  MMIO,
  MMIO_HIGH,
  MMU_NOTIFY,
  mmioSpte,
  permText,
  rangeEvent,
  roleText,
  SPTE_BY,
  sptePfn,
  VM_FAULTS,
  VMEXIT,
} from './tracepoint-words.ts';

/** An event as it came from the stream: id and four words. */
export type RawEvent = readonly [id: number, a: number, b: number, c: number, d: number];

/** Names a frame; the comparison pairs these names with the recording's. */
export type FrameName = (pfn: number) => string;

/** Makes recording events out of raw ones. */
export class EventWriter {
  readonly #frame: FrameName;
  readonly #born: (pfn: number) => void;
  readonly #npt: boolean;
  readonly #tails: boolean;
  /** Depth of host faults outside the slots: what happens inside them is not shown. */
  #foreign: boolean[] = [];
  #hidden = 0;
  #walk: string[] | null = null;
  #gup: (string | undefined)[] = [];
  #mine = new Map<string, boolean>();

  /** `tails`: a use is told of the very page, not of the compound page that it is a part of. */
  constructor(npt: boolean, frame: FrameName, born: (pfn: number) => void, tails: boolean) {
    this.#npt = npt;
    this.#tails = tails;
    this.#frame = frame;
    this.#born = born;
  }

  /** The recording's events of a step. */
  write(raw: readonly RawEvent[]): KvmEvent[] {
    const out: KvmEvent[] = [];
    let oldTdp = '';
    for (const [id, a, b, c, d] of raw) {
      const t = EVENT_NAMES[id] ?? `event ${id}`;
      if (id === abi.EVENT_FRAME_ALLOC) {
        this.#born(a);
        continue;
      }
      if (id === abi.EVENT_TDP_SPTE_OLD) {
        oldTdp = spteText(c, d);
        continue;
      }
      const event =
        this.#host(id, t, a, b) ??
        (this.#hidden > 0 ? null : this.#kvm(id, t, a, b, c, d, oldTdp)) ??
        null;
      if (event !== null && event.t !== '') out.push(event);
    }
    return out;
  }

  /** Host faults; `t` empty: swallowed. undefined: another kind of event. */
  #host(id: number, t: string, a: number, b: number): KvmEvent | undefined {
    if (id === abi.EVENT_HOST_FAULT) {
      const page = hvnName(a);
      this.#foreign.push(page === undefined);
      if (page === undefined) this.#hidden++;
      if (this.#hidden > 0) return { t: '' };
      return { t, page, flags: bitNames(b, FAULT_FLAGS) };
    }
    if (id === abi.EVENT_HOST_FAULT_RET) {
      if (this.#foreign.pop() === true) {
        this.#hidden--;
        return { t: '' };
      }
      if (this.#hidden > 0) return { t: '' };
      const ret = VM_FAULTS.filter(([bit]) => (b >>> bit) & 1).map(([, name]) => name);
      return { t, page: hvnName(a), ret: ret.join('|') || '0' };
    }
    return undefined;
  }

  #kvm(
    id: number,
    t: string,
    a: number,
    b: number,
    c: number,
    d: number,
    oldTdp: string,
  ): KvmEvent | null {
    switch (id) {
      case abi.EVENT_VMEXIT: {
        const reason = VMEXIT[a] ?? String(a);
        if (a !== abi.VMEXIT_PF_EXCP && a !== abi.VMEXIT_NPF) return { t, reason };
        const addr = a === abi.VMEXIT_NPF ? gfnName(b) : gvaName(b, c);
        const info1 =
          a === abi.VMEXIT_NPF && c !== 0
            ? `0x${c.toString(16)}${d.toString(16).padStart(8, '0')}`
            : `0x${d.toString(16)}`;
        return { t, reason, info1, addr };
      }
      case abi.EVENT_KVM_PAGE_FAULT:
        return {
          t,
          addr: this.#npt ? gfnName(a) : gvaName(a, b),
          code: c + d * 4294967296,
          bits: pfecText(c, d),
        };
      case abi.EVENT_GUEST_WALK: {
        this.#walk = [];
        return { t, gva: gvaName(a, b), pferr: c.toString(16), ptes: this.#walk };
      }
      case abi.EVENT_GUEST_PTE: {
        // A walk of ours that had to fault a table in starts again from the top; KVM's goes on.
        if (this.#walk?.some((entry) => entry.startsWith(`L${a}:`)) === true) return null;
        this.#walk?.push(`L${a}:${gfnName(gpteGfn(b, c))}:${gpteText(b, c)}`);
        return null;
      }
      case abi.EVENT_GUEST_PTE_SET_A:
      case abi.EVENT_GUEST_PTE_SET_D:
        return { t: t.slice(0, -1) + t.slice(-1).toUpperCase(), table: gfnName(a), index: b };
      case abi.EVENT_EMULATE_INSN:
        return a === 0 ? { t } : { t, fail: true };
      case abi.EVENT_GUEST_WALK_ERROR:
        return { t, code: a, bits: pfecText(a) };
      case abi.EVENT_INJECT:
        return { t, what: `${exceptionText(a, b)}${c ? ' [reinjected]' : ''}` };
      case abi.EVENT_MMIO: {
        const gpa = (a * 4096 + b).toString(16);
        return { t, info: `mmio ${MMIO[c] ?? ''} len ${d} gpa 0x${gpa}` };
      }
      case abi.EVENT_FLUSH_TLB_GVA:
      case abi.EVENT_MMU_INVALIDATE_GVA:
        return { t, gva: gvaName(a, b) };
      case abi.EVENT_NEW_CR3:
        return { t, pgd: gfnName(a) };
      case abi.EVENT_LOAD_ROOT:
        return { t, level: a };
      default:
        return this.#mmu(id, t, a, b, c, d, oldTdp);
    }
  }

  #mmu(
    id: number,
    t: string,
    a: number,
    b: number,
    c: number,
    d: number,
    oldTdp: string,
  ): KvmEvent | null {
    switch (id) {
      case abi.EVENT_HVA_TO_PFN: {
        const page = hvnName(a);
        this.#gup.push(page);
        return { t, ...(page === undefined ? {} : { page }) };
      }
      case abi.EVENT_HVA_TO_PFN_RET: {
        const page = this.#gup.pop();
        const ret = c ? `err:7ff${(c - 1).toString(16).padStart(13, '0')}` : this.#frame(b);
        return { t, ...(page === undefined ? {} : { page }), ret };
      }
      case abi.EVENT_SPTE_REQUESTED:
        return { t, gfn: gfnName(a + c * 4294967296), level: b };
      case abi.EVENT_SPTE_SET:
        return {
          t,
          gfn: gfnName(a),
          pfn: c & MMIO_HIGH ? `#mmio${sptePfn(b, c)}` : this.#frame(sptePfn(b, c)),
          spte: spteText(b, c),
          perm: permText(b, c),
          level: d,
        };
      case abi.EVENT_SPTE_ZAP:
        return {
          t,
          old: spteText(a, b),
          pfn: b & MMIO_HIGH ? `#mmio${sptePfn(a, b)}` : a & 1 ? this.#frame(sptePfn(a, b)) : null,
          by: SPTE_BY[c] ?? '',
        };
      case abi.EVENT_SPTE_UPDATE: {
        const by = SPTE_BY[d] ?? '';
        if (d === abi.SPTE_BY_MMU_SET_SPTE && c === 0) return null;
        return { t, new: spteText(a, b), flush: c, by };
      }
      case abi.EVENT_TDP_SPTE_NEW: {
        const event = { gfn: gfnName(a), level: b, old: oldTdp, new: spteText(c, d) };
        const mmio = (d & MMIO_HIGH) !== 0;
        const leaf = mmio || ((c & 1) !== 0 && isLeaf(b, c));
        return {
          t: 'tdp_spte',
          ...event,
          ...(leaf ? { pfn: mmio ? `#mmio${a}` : this.#frame(sptePfn(c, d)) } : {}),
        };
      }
      case abi.EVENT_SP_GET: {
        const state = d & 1 ? 'unsync' : 'sync';
        return { t, gfn: gfnName(a), level: b, role: roleText(c), state, created: (d & 2) !== 0 };
      }
      case abi.EVENT_SP_ZAP:
      case abi.EVENT_SP_UNSYNC:
      case abi.EVENT_SP_SYNC:
        return { t, gfn: gfnName(a), level: b, role: roleText(c) };
      case abi.EVENT_KVM_MMU_PTE_WRITE:
        return { t, table: gfnName(a), index: b };
      case abi.EVENT_FLUSH_REMOTE_TLBS_RANGE:
        return { t, gfn: gfnName(a), pages: b };
      case abi.EVENT_SPLIT_HUGE_PAGE: {
        const spte = b.toString(16);
        return { t, info: `gfn ${a.toString(16)} spte ${spte} level ${c} errno ${d}` };
      }
      case abi.EVENT_FAST_PAGE_FAULT: {
        const result = `spurious ${d} fixed ${c}`;
        return { t, old: spteText(a, 0), new: spteText(b, 0), result };
      }
      case abi.EVENT_MARK_MMIO_SPTE:
        // The tracepoint takes the access from the entry, whose lowest bit is set on AMD.
        return { t, info: `gfn ${a.toString(16)} access ${b | 1} gen ${c.toString(16)}` };
      case abi.EVENT_CHECK_MMIO_SPTE: {
        const spte = mmioSpte(c, d, b).toString(16);
        const gens = `kvm_gen ${a.toString(16)} spte-gen ${b.toString(16)} valid ${a === b ? 1 : 0}`;
        return { t, info: `spte ${spte} ${gens}` };
      }
      case abi.EVENT_HANDLE_MMIO_PAGE_FAULT: {
        const addr = this.#npt ? '0' : (a * 4096 + b).toString(16);
        return { t, info: `addr:${addr} gfn ${c.toString(16)} access ${d}` };
      }
      default:
        return this.#notifier(id, t, a, b, c, d);
    }
  }

  #notifier(id: number, t: string, a: number, b: number, c: number, d: number): KvmEvent | null {
    switch (id) {
      case abi.EVENT_MN_INVALIDATE_RANGE_START:
      case abi.EVENT_MN_INVALIDATE_RANGE_END:
      case abi.EVENT_KVM_INVALIDATE_RANGE_START:
      case abi.EVENT_KVM_INVALIDATE_RANGE_END: {
        const event = rangeEvent(t, a, b);
        return event && { ...event, event: MMU_NOTIFY[c] ?? String(c) };
      }
      case abi.EVENT_MN_INVALIDATE_RANGE:
      case abi.EVENT_MN_INVALIDATE_SECONDARY_TLBS:
      case abi.EVENT_KVM_INVALIDATE_RANGE:
        return rangeEvent(t, a, b);
      case abi.EVENT_TP_KVM_UNMAP_HVA_RANGE:
      case abi.EVENT_TP_KVM_AGE_HVA:
        return hvnName(a) === undefined ? null : rangeEvent(t, a, b);
      case abi.EVENT_MN_CLEAR_FLUSH_YOUNG:
      case abi.EVENT_KVM_CLEAR_FLUSH_YOUNG:
      case abi.EVENT_MN_CLEAR_YOUNG:
      case abi.EVENT_KVM_CLEAR_YOUNG: {
        const event = rangeEvent(t, a, b);
        this.#mine.set(t, event !== null);
        return event;
      }
      case abi.EVENT_MN_TEST_YOUNG:
      case abi.EVENT_KVM_TEST_YOUNG:
      case abi.EVENT_MN_CHANGE_PTE:
      case abi.EVENT_KVM_CHANGE_PTE: {
        const page = hvnName(a);
        this.#mine.set(t, page !== undefined);
        return page === undefined ? null : { t, page };
      }
      case abi.EVENT_TP_KVM_TEST_AGE_HVA:
      case abi.EVENT_TP_KVM_SET_SPTE_HVA: {
        const start = hvnName(a);
        return start === undefined ? null : { t, start };
      }
      case abi.EVENT_MN_CLEAR_FLUSH_YOUNG_RET:
      case abi.EVENT_KVM_CLEAR_FLUSH_YOUNG_RET:
      case abi.EVENT_MN_CLEAR_YOUNG_RET:
      case abi.EVENT_KVM_CLEAR_YOUNG_RET:
      case abi.EVENT_MN_TEST_YOUNG_RET:
      case abi.EVENT_KVM_TEST_YOUNG_RET:
        return this.#mine.get(t.slice(0, -4)) === false ? null : { t, ret: a };
      default:
        return this.#huge(id, t, a, b, c, d) ?? this.#mm(id, t, a, b, c, d);
    }
  }

  #huge(id: number, t: string, a: number, b: number, c: number, d: number): KvmEvent | undefined {
    if (id === abi.EVENT_MM_COLLAPSE_HUGE_PAGE) {
      return { t, info: `isolated=${a}, status=${SCAN_STATUS[b] ?? b}` };
    }
    if (id !== abi.EVENT_MM_KHUGEPAGED_SCAN_PMD) return undefined;
    const status = `status=${SCAN_STATUS[a >> 1] ?? a >> 1}`;
    const info = `writable=${a & 1}, referenced=${b}, none_or_zero=${c}, ${status}, unmapped=${d}`;
    return { t, info };
  }

  #mm(id: number, t: string, a: number, b: number, c: number, d: number): KvmEvent | null {
    switch (id) {
      case abi.EVENT_KVM_SET_PFN_ACCESSED:
      case abi.EVENT_KVM_SET_PFN_DIRTY:
      case abi.EVENT_FOLIO_ACTIVATE:
      case abi.EVENT_FOLIO_REFERENCED:
      case abi.EVENT_SWAP_WRITEPAGE:
      case abi.EVENT_SWAP_READ:
      case abi.EVENT_VMSCAN_WRITE:
      case abi.EVENT_WORKINGSET_EVICTION:
      case abi.EVENT_WORKINGSET_REFAULT:
      case abi.EVENT_LRU_ACTIVATE:
        return { t, pfn: this.#frame(a) };
      case abi.EVENT_FOLIO_MARK_ACCESSED:
        return { t, pfn: this.#frame(this.#tails ? b : a) };
      case abi.EVENT_LRU_INSERT:
        return { t, pfn: this.#frame(a), lru: String(b) };
      case abi.EVENT_FOLIO_REFERENCED_ONE:
      case abi.EVENT_TRY_TO_UNMAP_ONE: {
        const page = hvnName(a);
        return page === undefined ? null : { t, page };
      }
      case abi.EVENT_FOLIO_REFERENCED_RET:
        return { t, ret: a };
      default:
        return reclaimEvent(id, t, a, b, c, d);
    }
  }
}
