// Kernel same-page merging (cf. mm/ksm.c, 6.1): a scanner goes over the mergeable areas page by page.
// What equals a page of the stable tree is merged into it at once; what kept its checksum since the
// last pass is looked for in the unstable tree of this pass, and two equal pages there become a new
// stable one.
//
// Both trees are lists here: the order of the kernel's trees (of memcmp) decides only how fast a page is
// found. A stable page takes any number of mappings (the kernel starts a duplicate after 256).

import * as abi from '../../assembly/abi.ts';
import type { Task } from '../sched/task.ts';
import type { Host } from './host.ts';
import { isNormalPte } from './host-pte.ts';
import type { Mm } from './mm.ts';
import {
  MN_CHANGE_PTE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { notifyRange } from './unmap.ts';
import { VM_LOCKED, VM_MERGEABLE, type Vma } from './vma.ts';

/** A page that the scanner knows (struct rmap_item). */
interface Item {
  readonly mm: Mm;
  readonly hvn: number;
  sum: number;
  /** Frame of the stable page that it was merged into, 0: none. */
  stable: number;
  /** What the pages of its area belonged to when it was merged (Vma.anon). */
  anon: number | undefined;
}

/** A place where the reverse mapping of a merged page looks. */
export interface MergedVisit {
  readonly mm: Mm;
  readonly hvn: number;
}

// Arguments and locals of the two protocols.
const HVN = 1;
const PFN = 2;
const KPFN = 3;
const RESULT = 4;
const CALLEE = 5;

/** KSM of one host. */
export class Ksm {
  readonly #host: Host;
  /** mms with mergeable areas, in scanning order, and what is known of their pages. */
  readonly #known = new Map<Mm, Map<number, Item>>();
  /** Frames of the stable tree, each with the items merged into it, the last one first (stable_node->hlist). */
  readonly #stable = new Map<number, Item[]>();
  #unstable: Item[] = [];
  /** Address spaces of others are known that are gone: the next scan has batches to empty, and forgets them. */
  othersGone = false;

  constructor(host: Host) {
    this.#host = host;
  }

  /** The mm's mergeable areas are scanned from now on (__ksm_enter). */
  enter(mm: Mm): void {
    if (!this.#known.has(mm)) this.#known.set(mm, new Map());
  }

  /** fork: a child of a scanned mm is scanned too. */
  fork(parent: Mm, child: Mm): void {
    if (this.#known.has(parent)) this.enter(child);
  }

  /**
   * Passes over all areas until one changes nothing, `passes` at most. `drainAll` empties the batches of
   * all CPUs, as work queues do before each pass.
   */
  scan(passes: number, drainAll: () => void): void {
    for (let pass = 0; pass < passes; pass++) {
      // scan_get_next_rmap_item() has nothing to drain for when no mm is registered.
      if (this.#known.size === 0 && !this.othersGone) return;
      this.othersGone = false;
      drainAll();
      if (!this.#pass()) return;
    }
  }

  #pass(): boolean {
    this.#unstable = [];
    let changed = false;
    for (const [mm, known] of this.#known) {
      if (!mm.alive) {
        this.#dropUnseen(known, new Map());
        this.#known.delete(mm);
        continue;
      }
      const seen = new Map<number, Item>();
      for (const vma of mm.vmas) {
        if ((vma.flags & VM_MERGEABLE) === 0 || vma.anon === undefined) continue;
        for (let hvn = vma.start; hvn < vma.end; hvn++) {
          const pfn = this.#pageAt(mm, hvn);
          if (pfn === 0) continue;
          const item = known.get(hvn) ?? { mm, hvn, sum: 0, stable: 0, anon: undefined };
          seen.set(hvn, item);
          if (this.#compareAndMerge(item, pfn)) changed = true;
        }
      }
      this.#dropUnseen(known, seen);
      this.#known.set(mm, seen);
    }
    return changed;
  }

  /** Items of pages that are not there any more (remove_trailing_rmap_items and get_next_rmap_item). */
  #dropUnseen(known: ReadonlyMap<number, Item>, seen: ReadonlyMap<number, Item>): void {
    for (const [hvn, item] of known) if (seen.get(hvn) !== item) this.#part(item);
  }

  /** stable_tree_append. */
  #append(item: Item, kpfn: number): void {
    item.stable = kpfn;
    item.anon = item.mm.findVma(item.hvn)?.anon;
    this.#stable.get(kpfn)?.unshift(item);
  }

  /** remove_rmap_item_from_tree. */
  #part(item: Item): void {
    const items = this.#stable.get(item.stable);
    if (items !== undefined) {
      this.#stable.set(
        item.stable,
        items.filter((one) => one !== item),
      );
    }
    item.stable = 0;
  }

  /** remove_node_from_stable_tree. */
  #forget(kpfn: number): void {
    for (const item of this.#stable.get(kpfn) ?? []) item.stable = 0;
    this.#stable.delete(kpfn);
  }

  /**
   * Where the reverse mapping of a merged page looks, in order (rmap_walk_ksm): the places that were merged into it, the
   * last one first, whether it is still mapped there or not; then the same places in the children of their mms.
   */
  visits(pfn: number): MergedVisit[] {
    const items = this.#stable.get(pfn) ?? [];
    const own = items.filter(({ mm, hvn, anon }) => mm.alive && mm.findVma(hvn)?.anon === anon);
    return [...own, ...items.flatMap((item) => this.#inChildren(item))];
  }

  #inChildren({ mm, hvn, anon }: Item): MergedVisit[] {
    const inherits = (child: Mm): boolean =>
      child.parent === mm && anon !== undefined && child.findVma(hvn)?.inherited === anon;
    return this.#host.mms
      .filter((child): child is Mm => child !== null && inherits(child))
      .map((child) => ({ mm: child, hvn }));
  }

  /** The anonymous page that is mapped in a mergeable area (get_mergeable_page), or 0; under PROT_NONE, too. */
  #pageAt(mm: Mm, hvn: number): number {
    const vma = mm.findVma(hvn);
    if (vma === undefined || (vma.flags & VM_MERGEABLE) === 0) return 0;
    const { x } = this.#host.core;
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    if (!isNormalPte(pte)) return 0;
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    return (x.pageFlags(pfn) & abi.PG_ANON) === 0 ? 0 : pfn;
  }

  #isStable(pfn: number): boolean {
    if (!this.#stable.has(pfn)) return false;
    if ((this.#host.core.x.pageFlags(pfn) & abi.PG_KSM) !== 0) return true;
    // The page was freed: the node is stale (get_ksm_page).
    this.#forget(pfn);
    return false;
  }

  /** cmp_and_merge_page; true: something changed, so another pass may find more. */
  #compareAndMerge(item: Item, pfn: number): boolean {
    const { x } = this.#host.core;
    const own = this.#isStable(pfn);
    if (own && item.stable === pfn) return false;
    this.#part(item);
    const kpfn = own ? pfn : this.#find(pfn);
    if (kpfn !== 0) {
      if (!this.#mergeInto(item, pfn, kpfn)) return true;
      this.#append(item, kpfn);
      return true;
    }
    const sum = x.frameChecksum(pfn) >>> 0;
    if (item.sum !== sum) {
      item.sum = sum;
      return true;
    }
    const other = this.#findUnstable(item, pfn);
    if (other === null) return false;
    return this.#mergeTwo(item, pfn, other);
  }

  /** stable_tree_search. */
  #find(pfn: number): number {
    const { x } = this.#host.core;
    for (const kpfn of this.#stable.keys()) {
      if (this.#isStable(kpfn) && x.framesIdentical(pfn, kpfn) === 1) return kpfn;
    }
    return 0;
  }

  /** unstable_tree_search_insert. */
  #findUnstable(item: Item, pfn: number): Item | null {
    const { x } = this.#host.core;
    for (const other of this.#unstable) {
      const page = this.#pageAt(other.mm, other.hvn);
      if (page === 0 || x.framesIdentical(pfn, page) === 0) continue;
      // A page that a fork shares is not merged with itself.
      return page === pfn ? null : other;
    }
    this.#unstable.push(item);
    return null;
  }

  /** try_to_merge_two_pages and stable_tree_insert. */
  #mergeTwo(item: Item, pfn: number, other: Item): boolean {
    const page = this.#pageAt(other.mm, other.hvn);
    if (!this.#mergeInto(item, pfn, 0)) return true;
    if (!this.#mergeInto(other, page, pfn)) {
      breakKsm(item.mm, item.hvn);
      return true;
    }
    this.#unstable = this.#unstable.filter((one) => one !== other);
    this.#forget(pfn);
    this.#stable.set(pfn, []);
    this.#append(other, pfn);
    this.#append(item, pfn);
    return true;
  }

  /** try_to_merge_one_page; kpfn 0: the page itself becomes the one that others are merged into. */
  #mergeInto(item: Item, pfn: number, kpfn: number): boolean {
    if (pfn === kpfn) return true;
    const { mm, hvn } = item;
    const { x } = this.#host.core;
    if (mm.run((t, at) => writeProtect(t, at, mm), hvn, pfn) === 0) return false;
    if (kpfn === 0) {
      x.ksmAdopt(pfn);
      return true;
    }
    if (x.framesIdentical(pfn, kpfn) === 0) return false;
    mm.run((t, at) => replace(t, at, mm), hvn, pfn, kpfn);
    // A locked area maps it from now on (page_add_anon_rmap: mlock_vma_page).
    const locked = ((mm.findVma(hvn)?.flags ?? 0) & VM_LOCKED) !== 0;
    if (locked) x.lruSetFlags(kpfn, abi.PG_UNEVICTABLE, abi.PG_ACTIVE);
    return true;
  }
}

/** How notifiers hear that a pte changes: by change_pte, or by the flush of ptep_clear_flush(). */
function changeOp(mm: Mm): number {
  return mm.host.generation.changePte ? MN_CHANGE_PTE : MN_INVALIDATE_RANGE;
}

/** write_protect_page. */
function writeProtect(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const hvn = s[at + HVN] as number;
  switch (s[at]) {
    case 0:
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_START, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 1;
    case 1:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
      s[at + RESULT] = mm.host.core.x.ksmWriteProtect(mm.id, hvn, s[at + PFN] as number);
      notifyRange(s, at + CALLEE, changeOp(mm), hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 2;
    case 2:
      if (s[at + RESULT] === 2 && !mm.notifiers.call(t, at + CALLEE)) return false;
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_END, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 3;
    case 3:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, s[at + RESULT] as number);
}

/** replace_page. */
function replace(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const hvn = s[at + HVN] as number;
  switch (s[at]) {
    case 0:
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_START, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 1;
    case 1:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
      mm.host.core.x.ksmReplace(mm.id, hvn, s[at + PFN] as number, s[at + KPFN] as number);
      notifyRange(s, at + CALLEE, changeOp(mm), hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 2;
    case 2:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_END, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
      s[at] = 3;
    case 3:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

/** unmerge_ksm_pages: each page of the area is its own again. */
export function unmerge(mm: Mm, part: Vma): void {
  if (part.anon === undefined) return;
  for (let hvn = part.start; hvn < part.end; hvn++) breakKsm(mm, hvn);
}

/** What follow_page() gives break_ksm() a page for: PROT_NONE hides it. */
const FOLLOWED = abi.HPTE_PRESENT | abi.HPTE_SWAP | abi.HPTE_PROTNONE;

/** break_ksm: a write fault of nobody's gives the address a page of its own, which the area need not permit. */
function breakKsm(mm: Mm, hvn: number): void {
  const { x } = mm.host.core;
  const pte = x.hpteGet(mm.id, hvn) >>> 0;
  if ((pte & FOLLOWED) !== abi.HPTE_PRESENT) return;
  if ((x.pageFlags(pte >>> abi.HPTE_PFN_SHIFT) & abi.PG_KSM) === 0) return;
  const flags = abi.FAULT_FLAG_WRITE | abi.FAULT_FLAG_REMOTE;
  mm.run((t, at) => mm.handleMmFault(t, at), hvn, flags);
}
