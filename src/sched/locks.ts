// Names of the locks that protocols take, as the integers that Task.lock() wants. Lock order, outermost
// first: mmap_lock, page lock, notifier chain, pte lock, mmu_lock, LRU lock.

/** KVM's mmu_lock: an exclusive spinlock in 2008, a reader-writer lock since 5.13. */
export const LOCK_MMU = 1;
/** zone->lru_lock. */
export const LOCK_LRU = 2;
/** slots_lock and the SRCU domain of KVM's memslots. */
export const LOCK_SLOTS = 3;
/** kvm->arch.mmu_notifier_invalidate_lock of the seqlock draft. */
export const LOCK_KVM_SEQLOCK = 5;
/** The RCU domain of the kernel. */
export const LOCK_RCU = 4;

const LOCK_NOTIFIER_FIRST = 0x1000;
const LOCK_MMAP_FIRST = 0x2000;
const LOCK_PTE_FIRST = 0x3000;
const LOCK_SRCU_FIRST = 0x4000;
const LOCK_ENTRY_FIRST = 0x5000;
const LOCK_RMAP_FIRST = 0x6000;
const LOCK_PAGE_FIRST = 0x10000;

/** The lock of an mm's notifier chain. */
export function lockNotifier(mm: number): number {
  return LOCK_NOTIFIER_FIRST + mm;
}

/** The SRCU domain of an mm's notifier chain (one for all mms in Linux; finer here). */
export function srcuNotifier(mm: number): number {
  return LOCK_SRCU_FIRST + mm;
}

/** The lock in a notifier entry (type-safe slabs with a re-check). */
export function lockEntry(id: number): number {
  return LOCK_ENTRY_FIRST + id;
}

/** mm->mmap_lock: shared by faults, exclusive for changes of the vmas. */
export function lockMmap(mm: number): number {
  return LOCK_MMAP_FIRST + mm;
}

/** The locks of the reverse map (anon_vma, i_mmap), modelled as one a mm: held by try_to_unmap. */
export function lockRmap(mm: number): number {
  return LOCK_RMAP_FIRST + mm;
}

/** The page-table lock of an mm (mm->page_table_lock; split locks are modelled as one). */
export function lockPte(mm: number): number {
  return LOCK_PTE_FIRST + mm;
}

/** The lock bit of a page. */
export function lockPage(pfn: number): number {
  return LOCK_PAGE_FIRST + pfn;
}

/** The page whose lock bit a lock id names, or -1. */
export function pageOfLock(lock: number): number {
  return lock >= LOCK_PAGE_FIRST ? lock - LOCK_PAGE_FIRST : -1;
}

/** Kernel name of a lock id. */
export function lockName(lock: number): string {
  if (lock === LOCK_MMU) return 'mmu_lock';
  if (lock === LOCK_LRU) return 'lru_lock';
  if (lock === LOCK_SLOTS) return 'slots_lock';
  if (lock === LOCK_KVM_SEQLOCK) return 'mmu_notifier_invalidate_lock';
  if (lock === LOCK_RCU) return 'rcu';
  if (lock < LOCK_NOTIFIER_FIRST) return `lock ${lock}`;
  if (lock >= LOCK_PAGE_FIRST) return `page_lock(${lock - LOCK_PAGE_FIRST})`;
  if (lock >= LOCK_RMAP_FIRST) return `anon_vma lock (mm ${lock - LOCK_RMAP_FIRST})`;
  if (lock >= LOCK_ENTRY_FIRST) return `lock of notifier ${lock - LOCK_ENTRY_FIRST}`;
  if (lock >= LOCK_SRCU_FIRST) return `mmu_notifier_srcu(mm ${lock - LOCK_SRCU_FIRST})`;
  if (lock >= LOCK_PTE_FIRST) return `page_table_lock(mm ${lock - LOCK_PTE_FIRST})`;
  if (lock >= LOCK_MMAP_FIRST) return `mmap_lock(mm ${lock - LOCK_MMAP_FIRST})`;
  return `mmu_notifier_lock(mm ${lock - LOCK_NOTIFIER_FIRST})`;
}
