// A whole-structure check of the shadow MMU (the idea of arch/x86/kvm/mmu/mmu_audit.c): what must
// hold whenever no operation is under way. It reads linear memory itself, so it does not share code
// with what it checks.
//
// - A shadow page's counts and bitmaps agree with its 512 sptes.
// - Every leaf spte is in the rmap of its gfn, once, and every rmap entry is a leaf spte.
// - Every non-leaf spte is in its child's list of parents, and the levels fit.
// - A spte maps the frame that the host's page table maps, and is writable only if that is.
// - No spte lets the guest write a table that is shadowed and in sync.
// - The way from the root to each unsync page is marked.
// - What a TLB translates in the current space is what the shadow tables say, with no more rights,
//   and it is marked dirty only if its spte is; what it translates in any space is still mapped by
//   some spte, and by a writable one if it may be written, or by one that was aged since.
//
// Tables of two-dimensional paging have neither rmaps nor lists of parents, and a TLB entry there joins them with
// the guest's own: what is said of those is not asked.

import {
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_N_USED_MMU_PAGES,
  PT_DIRTY_BIT,
  PT_PAGE_SIZE_BIT,
  PT_PRESENT_BIT,
  PT_WRITABLE_BIT,
  ROLE_DIRECT,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MAX,
  SLOT_MM,
  SLOT_NPAGES,
  SLOT_RMAP,
  SPTE_AD_DISABLED_BIT,
  SPTE_MMU_PRESENT_BIT,
  SPTE_MMU_WRITABLE_BIT,
  SP_GFN,
  SP_LINK_NEXT,
  SP_PARENT_PTES,
  SP_PRESENT,
  SP_PRESENT_BITMAP,
  SP_ROLE,
  SP_TRANSLATIONS,
  SP_UNSYNC,
  SP_UNSYNC_BITMAP,
  SP_UNSYNC_CHILDREN,
  TLB_LIST_DENIES,
  TLB_LIST_ENTRY,
  TLB_LIST_LEVEL,
  TLB_LIST_NOT_DIRTY,
  TLB_LIST_NOT_WRITABLE,
  TLB_LIST_PFN,
  TLB_LIST_TAG,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
  VCPU_TLB_TAG,
  ZERO_PFN,
} from '../../assembly/abi.ts';
import type { Kvm } from './kvm.ts';

const W = 1 << PT_WRITABLE_BIT;
const D = 1 << PT_DIRTY_BIT;
const PS = 1 << PT_PAGE_SIZE_BIT;
const MMU_PRESENT = 1 << SPTE_MMU_PRESENT_BIT;
const P = 1 << PT_PRESENT_BIT;
const MMU_WRITABLE = 1 << SPTE_MMU_WRITABLE_BIT;
const AD_DISABLED = 1n << BigInt(SPTE_AD_DISABLED_BIT);

/**
 * Whether a TLB may hold a right to write that it has by an spte: the spte grants it, or granted it before it was made
 * non-present to see the next access. Ageing without a flush (clear_young) leaves that to the TLB; whoever write-protects
 * or zaps the spte flushes (mmu_spte_update(), arch/x86/kvm/mmu/mmu.c, 6.1).
 */
function mayStayWritable(spte: bigint): boolean {
  const lo = Number(spte & 0xfffn);
  const tracked = (spte & AD_DISABLED) !== 0n && (lo & P) === 0;
  return (lo & W) !== 0 || (tracked && (lo & MMU_WRITABLE) !== 0);
}

interface Leaf {
  readonly sptep: number;
  readonly gfn: number;
  readonly level: number;
  readonly pfn: number;
  readonly writable: boolean;
}

/** What the audit counted, beside what it found wrong. */
export interface KvmAuditResult {
  /** Broken invariants in words; empty when all hold. */
  readonly problems: readonly string[];
  /** References on pages that the sptes hold (KVM until notifiers for ranges). */
  readonly pins: number;
}

/** Checks everything; one line for each violation, none when all is well. */
export function auditKvm(kvm: Kvm): string[] {
  return new KvmAudit(kvm).run();
}

/** As auditKvm(), with what the host's audit (auditHost()) must be told. */
export function auditKvmPins(kvm: Kvm): KvmAuditResult {
  const audit = new KvmAudit(kvm);
  const problems = audit.run();
  return { problems, pins: kvm.pinsPages ? audit.mappings : 0 };
}

/** What a walk of the shadow tables gives; `writable`: what mayStayWritable() says of all its levels. */
interface Walked {
  readonly pfn: number;
  readonly writable: boolean;
  readonly dirty: boolean;
}

class KvmAudit {
  readonly #kvm: Kvm;
  readonly #violations: string[] = [];
  readonly #leaves: Leaf[] = [];
  /** Frames that leaf sptes map; true if a TLB may hold a right to write by one of them. */
  readonly #mappedFrames = new Map<number, boolean>();

  constructor(kvm: Kvm) {
    this.#kvm = kvm;
  }

  run(): string[] {
    const pages = this.#shadowPages();
    for (const sp of pages) this.#checkPage(sp);
    const used = this.#load(this.#kvm.ptr + KVM_N_USED_MMU_PAGES);
    this.#must(
      pages.length <= used,
      `${pages.length} shadow pages are active, ${used} are counted`,
    );
    if (!this.#kvm.tdp) this.#checkRmaps();
    for (const leaf of this.#leaves) this.#checkLeaf(leaf, pages);
    for (const vcpu of this.#kvm.vcpus) this.#checkTlb(vcpu.ptr, vcpu.id);
    return this.#violations;
  }

  /** Leaf sptes of pages that are counted. */
  get mappings(): number {
    return this.#leaves.filter(({ pfn }) => pfn !== ZERO_PFN).length;
  }

  #must(holds: boolean, violation: string): void {
    if (!holds) this.#violations.push(violation);
  }

  #load(ptr: number): number {
    return this.#kvm.core.mem.load32(ptr);
  }

  #shadowPages(): number[] {
    const pages: number[] = [];
    let sp = this.#kvm.core.x.activeFirst() >>> 0;
    for (; sp !== 0; sp = this.#load(sp + SP_LINK_NEXT)) pages.push(sp);
    return pages;
  }

  /** Entries of an rmap list (rmap.ts). */
  #list(head: number): number[] {
    const value = this.#load(head);
    if (value === 0) return [];
    if ((value & 1) === 0) return [value];
    const entries: number[] = [];
    for (let desc = (value & ~1) >>> 0; desc !== 0; desc = this.#load(desc)) {
      const count = this.#load(desc + 4);
      for (let i = 0; i < count; i++) entries.push(this.#load(desc + 8 + i * 4));
    }
    return entries;
  }

  #bit(bitmap: number, index: number): boolean {
    return ((this.#load(bitmap + (index >> 5) * 4) >>> (index & 31)) & 1) === 1;
  }

  #checkPage(sp: number): void {
    const role = this.#load(sp + SP_ROLE);
    const level = role & ROLE_LEVEL_MASK;
    const name = `shadow page of gfn ${this.#load(sp + SP_GFN)} level ${level}`;
    this.#must((role & ROLE_INVALID) === 0, `${name}: active but invalid`);
    const table = this.#kvm.core.x.spTable(sp) >>> 0;
    let present = 0;
    let unsyncChildren = 0;
    for (let i = 0; i < 512; i++) {
      const sptep = table + i * 8;
      const lo = this.#load(sptep);
      const isPresent = (lo & MMU_PRESENT) !== 0;
      if (isPresent) present++;
      if (this.#bit(sp + SP_UNSYNC_BITMAP, i)) unsyncChildren++;
      if (isPresent !== this.#bit(sp + SP_PRESENT_BITMAP, i)) {
        this.#must(false, `${name}: presence bit ${i} is wrong`);
      }
      if (!isPresent) continue;
      const pfn = (lo >>> 12) | ((this.#load(sptep + 4) & 0x7ffff) << 20);
      if (level === 1 || (lo & PS) !== 0) this.#addLeaf(sp, role, i, sptep, lo, pfn >>> 0);
      else this.#checkChild(sp, name, i, sptep, pfn >>> 0);
    }
    this.#must(
      present === this.#load(sp + SP_PRESENT),
      `${name}: ${present} sptes are present, ${this.#load(sp + SP_PRESENT)} are counted`,
    );
    this.#must(
      unsyncChildren === this.#load(sp + SP_UNSYNC_CHILDREN),
      `${name}: ${unsyncChildren} unsync children, counted otherwise`,
    );
  }

  #addLeaf(sp: number, role: number, i: number, sptep: number, lo: number, pfn: number): void {
    const level = role & ROLE_LEVEL_MASK;
    const translations = this.#load(sp + SP_TRANSLATIONS);
    const direct = (role & ROLE_DIRECT) !== 0;
    const gfn = direct
      ? this.#load(sp + SP_GFN) + i * 512 ** (level - 1)
      : this.#load(translations + i * 4) >>> 3;
    const writable = (lo & W) !== 0;
    this.#leaves.push({ sptep, gfn, level, pfn, writable });
    const stays = mayStayWritable(this.#kvm.core.mem.loadBig(sptep));
    for (let page = pfn; page < pfn + 512 ** (level - 1); page++) {
      this.#mappedFrames.set(page, stays || this.#mappedFrames.get(page) === true);
    }
  }

  #checkChild(sp: number, name: string, i: number, sptep: number, tablePage: number): void {
    const table = tablePage * 4096;
    const chunk = Math.floor(table / 65536) * 65536;
    const child = chunk + ((table - chunk) / 4096) * 256;
    const level = this.#load(child + SP_ROLE) & ROLE_LEVEL_MASK;
    const parent = this.#load(sp + SP_ROLE) & ROLE_LEVEL_MASK;
    this.#must(level === parent - 1, `${name}: entry ${i} points to a table of level ${level}`);
    if (this.#kvm.tdp) return;
    const links = this.#list(child + SP_PARENT_PTES).filter((at) => at === sptep).length;
    this.#must(links === 1, `${name}: entry ${i} is ${links} times in its child's parents`);
    const unsync =
      this.#load(child + SP_UNSYNC) !== 0 || this.#load(child + SP_UNSYNC_CHILDREN) !== 0;
    this.#must(
      !unsync || this.#bit(sp + SP_UNSYNC_BITMAP, i),
      `${name}: the way to the unsync table below entry ${i} is not marked`,
    );
  }

  #slotOf(gfn: number): number {
    const { x } = this.#kvm.core;
    const id = x.gfnToSlotId(gfn) >>> 0;
    return id >= SLOT_MAX ? 0 : x.slotPtr(id) >>> 0;
  }

  #rmapHead(slot: number, gfn: number, level: number): number {
    const unit = 512 ** (level - 1);
    const first = Math.floor(this.#load(slot + SLOT_BASE_GFN) / unit);
    return this.#load(slot + SLOT_RMAP + (level - 1) * 4) + (Math.floor(gfn / unit) - first) * 4;
  }

  /** Every entry of every rmap is a leaf spte of that gfn, and each leaf is there once. */
  #checkRmaps(): void {
    const leaves = new Map(this.#leaves.map((leaf) => [leaf.sptep, leaf]));
    let entries = 0;
    for (const region of this.#kvm.regions) {
      const slot = this.#slotOf(region.gfn);
      for (let level = 1; level <= 3; level++) {
        const unit = 512 ** (level - 1);
        const start = Math.floor(region.gfn / unit) * unit;
        for (let gfn = start; gfn < region.gfn + region.npages; gfn += unit) {
          for (const sptep of this.#list(this.#rmapHead(slot, gfn, level))) {
            entries++;
            const leaf = leaves.get(sptep);
            const fits = leaf !== undefined && leaf.gfn === gfn && leaf.level === level;
            this.#must(fits, `rmap of gfn ${gfn} level ${level}: an entry is no spte of it`);
          }
        }
      }
    }
    this.#must(
      entries === this.#leaves.length,
      `${this.#leaves.length} leaf sptes, but ${entries} rmap entries`,
    );
  }

  #checkLeaf(leaf: Leaf, pages: readonly number[]): void {
    const name = `spte of gfn ${leaf.gfn} level ${leaf.level}`;
    const slot = this.#slotOf(leaf.gfn);
    if (slot === 0) {
      this.#must(false, `${name}: no memslot`);
      return;
    }
    if (!this.#kvm.tdp) {
      const list = this.#list(this.#rmapHead(slot, leaf.gfn, leaf.level));
      this.#must(list.filter((at) => at === leaf.sptep).length === 1, `${name}: not in its rmap`);
    }
    if (this.#kvm.aging.kvm.notifiers) this.#checkHost(leaf, slot, name);
    if (!leaf.writable) return;
    for (const sp of pages) {
      if ((this.#load(sp + SP_ROLE) & ROLE_DIRECT) !== 0) continue;
      const table = this.#load(sp + SP_GFN);
      if (table < leaf.gfn || table >= leaf.gfn + 512 ** (leaf.level - 1)) continue;
      this.#must(this.#load(sp + SP_UNSYNC) !== 0, `${name}: writable, but it is a synced table`);
    }
  }

  #checkHost(leaf: Leaf, slot: number, name: string): void {
    const offset = leaf.gfn - this.#load(slot + SLOT_BASE_GFN);
    this.#must(offset < this.#load(slot + SLOT_NPAGES), `${name}: beyond its memslot`);
    const hvn = this.#load(slot + SLOT_HVN) + offset;
    const hpte = this.#kvm.core.x.hpteGet(this.#load(slot + SLOT_MM), hvn) >>> 0;
    if ((hpte & HPTE_PRESENT) === 0) {
      this.#must(false, `${name}: maps frame ${leaf.pfn}, the host maps nothing`);
      return;
    }
    const host = hpte >>> HPTE_PFN_SHIFT;
    this.#must(host === leaf.pfn, `${name}: maps frame ${leaf.pfn}, the host maps ${host}`);
    this.#must(!leaf.writable || (hpte & HPTE_WRITE) !== 0, `${name}: writable, the host's is not`);
  }

  #checkTlb(vcpu: number, id: number): void {
    const { x, mem } = this.#kvm.core;
    // A nested root that went is dropped with what it translated at the next entry.
    if (this.#kvm.tdp && this.#load(vcpu + VCPU_REQUESTS) !== 0) return;
    const max = 4096;
    const out = this.#scratch(max * TLB_LIST_ENTRY);
    const count = Math.min(max, x.tlbList(vcpu, out, max) >>> 0);
    const tag = this.#load(vcpu + VCPU_TLB_TAG);
    for (let i = 0; i < count; i++) {
      const entry = out + i * TLB_LIST_ENTRY;
      const gva = mem.loadBig(entry);
      const pfn = this.#load(entry + TLB_LIST_PFN);
      const denies = this.#load(entry + TLB_LIST_DENIES);
      const name = `vCPU ${id}: TLB entry of gva 0x${gva.toString(16)}`;
      const large = this.#load(entry + TLB_LIST_LEVEL) !== 1;
      this.#must(this.#mappedFrames.has(pfn), `${name}: no spte maps frame ${pfn} any more`);
      const writes = (denies & (TLB_LIST_NOT_WRITABLE | TLB_LIST_NOT_DIRTY)) === 0;
      this.#must(
        large || !writes || this.#mappedFrames.get(pfn) === true,
        `${name}: may be written, but no spte of frame ${pfn} is writable`,
      );
      const here = this.#load(entry + TLB_LIST_TAG) === tag;
      if (!here || large || this.#kvm.tdp || this.#load(vcpu + VCPU_REQUESTS) !== 0) continue;
      this.#checkWalk(this.#walk(vcpu, gva), pfn, denies, name);
    }
  }

  #checkWalk(walked: Walked | null | undefined, pfn: number, denies: number, name: string): void {
    if (walked === undefined) return;
    if (walked === null) return this.#must(false, `${name}: the tables say nothing`);
    this.#must(walked.pfn === pfn, `${name}: frame ${pfn}, the tables say ${walked.pfn}`);
    if ((denies & TLB_LIST_NOT_WRITABLE) === 0) {
      this.#must(walked.writable, `${name}: may be written, the tables forbid it`);
      const dirty = (denies & TLB_LIST_NOT_DIRTY) !== 0 || walked.dirty;
      this.#must(dirty, `${name}: dirty, its spte is not`);
    }
  }

  /** What the current shadow tables give for a gva: null, nothing; undefined, there is no root. */
  #walk(vcpu: number, gva: bigint): Walked | null | undefined {
    let table = this.#load(vcpu + VCPU_ROOT);
    if (table === 0) return undefined;
    let writable = true;
    for (let level = this.#load(vcpu + VCPU_ROOT_LEVEL); level >= 1; level--) {
      const shift = BigInt(12 + 9 * (level - 1));
      const spte = this.#kvm.core.mem.loadBig(table + Number((gva >> shift) & 511n) * 8);
      if ((spte & BigInt(MMU_PRESENT)) === 0n) return null;
      const lo = Number(spte & 0xfffn);
      const frame = Number((spte >> 12n) & 0x7fffffffffn);
      writable &&= mayStayWritable(spte);
      const dirty = (lo & D) !== 0 || (spte & AD_DISABLED) !== 0n;
      if (level === 1) return { pfn: frame, writable, dirty };
      if ((lo & PS) !== 0) {
        const offset = Number((gva & ((1n << shift) - 1n)) >> 12n);
        return { pfn: frame + offset, writable, dirty };
      }
      table = frame * 4096;
    }
    return null;
  }

  /** Scratch memory of the audit, made once a VM. */
  #scratch(bytes: number): number {
    let at = scratches.get(this.#kvm);
    if (at === undefined) {
      at = this.#kvm.core.x.arenaAlloc(bytes) >>> 0;
      scratches.set(this.#kvm, at);
    }
    return at;
  }
}

const scratches = new WeakMap<Kvm, number>();
