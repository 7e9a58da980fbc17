// What of a straight run the core may do itself: host faults of KVM's page fault and the reclaim that
// makes room for them (assembly/straight). The host says so in STRAIGHT_* words, before a batch, when
// anything that they depend on was replaced.

import * as abi from '../../assembly/abi.ts';
import { mapArgs } from '../mm/fault.ts';
import type { HostHooks } from '../mm/host.ts';
import { Mm } from '../mm/mm.ts';
import { ClockPolicy } from '../mm/vmscan/clock.ts';
import { FifoPolicy } from '../mm/vmscan/fifo.ts';
import type { ReclaimPolicy } from '../mm/vmscan/policy.ts';
import { shadowKind } from '../mm/vmscan/reclaim-page.ts';
import { TwoListPolicy } from '../mm/vmscan/two-list.ts';
import { VM_SHARED, type Vma } from '../mm/vma.ts';
import type { Kvm } from './kvm.ts';

/** Hooks of a host that the core knows how to call: those of the machine's clock and yardstick. */
export interface StraightHooks {
  readonly hooks: HostHooks;
  /** Which guest pages the yardstick knows; null: there is none. */
  readonly yardstick: {
    readonly base: number;
    readonly first: number;
    readonly end: number;
  } | null;
}

/** STRAIGHT_SCAN_* of a policy; undefined: the core does not have it, as one derived from another is its
 *  author's. */
function scanOf(policy: ReclaimPolicy): number | undefined {
  const kind = Object.getPrototypeOf(policy) as unknown;
  if (kind === TwoListPolicy.prototype) return abi.STRAIGHT_SCAN_TWO_LIST;
  if (kind === ClockPolicy.prototype) return abi.STRAIGHT_SCAN_CLOCK;
  return kind === FifoPolicy.prototype ? abi.STRAIGHT_SCAN_FIFO : undefined;
}

/** Keeps the STRAIGHT_* words of one VM. */
export class StraightRuns {
  readonly #kvm: Kvm;
  readonly #ptr: number;
  readonly #enabled: boolean;
  /** The machine's hooks, when it has any. */
  known: StraightHooks | null = null;
  #seen: unknown[] = [];
  /** A run of reclaim may be made in the core. */
  #reclaims = false;

  constructor(kvm: Kvm, enabled: boolean) {
    this.#kvm = kvm;
    this.#enabled = enabled;
    this.#ptr = kvm.core.x.straightPtr() >>> 0;
    if (enabled && kvm.mm instanceof Mm) {
      kvm.mm.host.reclaimsInCore = () => {
        this.refresh();
        return this.#reclaims;
      };
    }
  }

  /** The words may be those of another time (a snapshot was restored): the next batch writes them anew. */
  forget(): void {
    this.#seen = [];
  }

  /** Brings the words up to date. */
  refresh(): void {
    const { mm } = this.#kvm;
    if (!this.#enabled || !(mm instanceof Mm) || !this.#changed(mm)) return;
    const plain = this.#writeShared(mm);
    this.#reclaims = plain && this.#writeReclaim(mm);
    // Who needs a page reclaims, unless there is kswapd to do it ahead.
    const direct = this.#reclaims && mm.host.kswapd === null;
    this.#set(abi.STRAIGHT_RECLAIMS, direct ? 1 : 0);
    if (plain) this.#writeFaults(mm);
    this.#set(abi.STRAIGHT_ON, plain ? 1 : 0);
  }

  /** Whether something that the words depend on was replaced since they were written. */
  #changed({ host, vmas, notifiers }: Mm): boolean {
    const { list } = notifiers;
    const { core, regions } = this.#kvm;
    let fresh =
      this.#isNew(0, vmas) +
      this.#isNew(1, list.entries) +
      this.#isNew(2, list.head) +
      this.#isNew(3, host.limit) +
      this.#isNew(4, host.hooks) +
      this.#isNew(5, host.shmemFiles) +
      this.#isNew(6, host.reclaimsForAll) +
      this.#isNew(7, host.slabPages) +
      this.#isNew(8, host.mms) +
      this.#isNew(9, core.tracing) +
      this.#isNew(10, this.known) +
      this.#isNew(11, regions);
    host.mms.forEach((mm, i) => {
      if (mm !== null) fresh += this.#isNew(12 + i, mm.notifiers.list.head);
    });
    return fresh > 0;
  }

  #isNew(i: number, what: unknown): number {
    if (this.#seen[i] === what && i < this.#seen.length) return 0;
    this.#seen[i] = what;
    return 1;
  }

  #set(at: number, value: number): void {
    this.#kvm.core.mem.store32(this.#ptr + at, value);
  }

  /** Writes what faults and reclaim share; false: the host is not that plain, and both are the protocols'. */
  #writeShared(mm: Mm): boolean {
    const { host } = mm;
    const { core, tdp } = this.#kvm;
    if (tdp || core.tracing || host.thp !== 'never' || host.shmemFiles.length > 0) return false;
    if (host.swap.mayFail || host.disk.mayFail || !this.#writeHooks(host.hooks)) return false;
    this.#set(abi.STRAIGHT_MM, mm.id);
    return true;
  }

  /** Writes the words for faults. */
  #writeFaults(mm: Mm): void {
    this.#set(abi.STRAIGHT_LIMIT, mm.host.room);
    this.#writeAreas(mm);
  }

  /** Writes the words for reclaim; false: it is the protocol's. */
  #writeReclaim(mm: Mm): boolean {
    const { host } = mm;
    const scan = scanOf(host.policy);
    if (scan === undefined || host.slabPages > 0) return false;
    const { head } = mm.notifiers.list;
    if (head !== 0 && !this.#isAlone(mm, head)) return false;
    // Another address space may map the same pages, but nobody may want to hear of them.
    const others = host.mms.filter((other) => other !== mm && other !== null);
    if (others.some((other) => other?.notifiers.list.head !== 0)) return false;
    // A walk over a page tells them of areas that it visits in vain, too.
    if (others.length > 0 && mm.hooks === '6.x') return false;
    const rechecks = host.generation.recheckYoung && host.policy.rechecks === true;
    this.#set(abi.STRAIGHT_SCAN, scan);
    this.#set(abi.STRAIGHT_CLUSTER, host.policy.cluster);
    this.#set(abi.STRAIGHT_RECHECKS, rechecks ? 1 : 0);
    this.#set(abi.STRAIGHT_SHADOW, shadowKind(host));
    // Flushes of secondary TLBs are calls that do not count.
    this.#set(abi.STRAIGHT_TELLS_RANGE, mm.notifiers.withFlushes ? 0 : 1);
    this.#writeNotifier(head !== 0);
    return true;
  }

  /** KVM is the only notifier of the mm. */
  #isAlone(mm: Mm, head: number): boolean {
    const { ops, next } = mm.notifiers.list.entry(head);
    return next === 0 && ops === this.#kvm.notifier && mm.notifiers.onMisuse === null;
  }

  /** Nobody listens, or the machine's own clock and yardstick. */
  #writeHooks(hooks: HostHooks): boolean {
    const ours = this.known !== null && this.known.hooks === hooks;
    if (!ours && Object.keys(hooks).length > 0) return false;
    const { base, first, end } = (ours ? this.known?.yardstick : null) ?? {
      base: 0,
      first: 0,
      end: 0,
    };
    this.#set(abi.STRAIGHT_CLOCK, ours ? 1 : 0);
    this.#set(abi.STRAIGHT_GFN_BASE, base);
    this.#set(abi.STRAIGHT_GFN_FIRST, first);
    this.#set(abi.STRAIGHT_GFN_END, end);
    return true;
  }

  #writeNotifier(registered: boolean): void {
    const { aging, ageAction, protocol } = this.#kvm;
    const { hooks, op } = aging;
    const called = hooks === '6.x' ? abi.STRAIGHT_HOOKS_RANGE : abi.STRAIGHT_HOOKS_PAGE;
    const none = hooks === 'none' || !registered;
    this.#set(abi.STRAIGHT_HOOKS, none ? abi.STRAIGHT_HOOKS_NONE : called);
    const bumps = protocol.retry === 'seq-count' || protocol.retry === 'range';
    this.#set(abi.STRAIGHT_BUMPS_SEQ, bumps ? 1 : 0);
    this.#set(abi.STRAIGHT_AGES, registered && op !== 'none' ? 1 : 0);
    this.#set(abi.STRAIGHT_ASK_ONLY_YOUNG, aging.askOnlyYoung ? 1 : 0);
    this.#set(abi.STRAIGHT_ANSWER_COUNTS, aging.answerCounts ? 1 : 0);
    // age_page acts as the protocol says, the later ops clear the accessed bit.
    const flushes = op === 'age_page' ? aging.kvm.flush : op === 'clear_flush_young';
    this.#set(abi.STRAIGHT_AGE_ACTION, op === 'age_page' ? ageAction : abi.AGE_CLEAR);
    this.#set(abi.STRAIGHT_AGE_FLUSHES, flushes ? 1 : 0);
  }

  /** The areas behind the memslots, as far as there is room for them. */
  #writeAreas(mm: Mm): void {
    const { regions } = this.#kvm;
    const backs = ({ start, end }: Vma): boolean =>
      regions.some(({ hvn, npages }) => start < hvn + npages && hvn < end);
    const areas = mm.vmas.filter(backs).slice(0, abi.STRAIGHT_AREAS_MAX);
    this.#set(abi.STRAIGHT_AREAS, areas.length);
    areas.forEach((vma, i) => {
      const at = abi.STRAIGHT_AREA + i * abi.STRAIGHT_AREA_SIZE;
      this.#set(at + abi.STRAIGHT_AREA_START, vma.start);
      this.#set(at + abi.STRAIGHT_AREA_END, vma.end);
      this.#set(at + abi.STRAIGHT_AREA_FILE, vma.file);
      this.#set(at + abi.STRAIGHT_AREA_OFFSET, vma.pgoff - vma.start);
      this.#set(at + abi.STRAIGHT_AREA_READ, this.#faultArgs(mm, vma, false));
      this.#set(at + abi.STRAIGHT_AREA_WRITE, this.#faultArgs(mm, vma, true));
    });
  }

  /** MAP_* of a fault; STRAIGHT_NOT where it is forbidden or the first of its kind in the area. */
  #faultArgs(mm: Mm, vma: Vma, write: boolean): number {
    const makesAnon = write && (vma.flags & VM_SHARED) === 0;
    const first = vma.faulted !== true || (makesAnon && vma.anon === undefined);
    if (first || !mm.permits(vma, write)) return abi.STRAIGHT_NOT;
    return mapArgs(mm, vma, write) | (mm.host.generation.zeroPage ? abi.MAP_ZERO_PAGE : 0);
  }
}
