// Runs rows of an access table through the guest walker: decodes the input word of a row into
// registers and table entries, makes the accesses, and encodes what happened as an outcome word. The
// bits of both words are ACX_* in abi.ts. Batched here because a complete table has 13.5 million
// rows; comparing with the expected outcome and telling it in words is src/conform/access.ts.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  ACX_FETCH,
  ACX_JOB_CR0,
  ACX_JOB_CR4,
  ACX_JOB_EFER,
  ACX_JOB_FLAGS,
  ACX_JOB_GFN,
  ACX_JOB_GVA,
  ACX_JOB_LARGE_GFN,
  ACX_JOB_PAGE_GFN,
  ACX_JOB_PDE,
  ACX_JOB_PDPTE,
  ACX_JOB_PKRU,
  ACX_JOB_PREREAD,
  ACX_JOB_PTE,
  ACX_JOB_TABLE_GFN,
  ACX_JOB_VCPU,
  ACX_MAXPHYADDR,
  ACX_NXE,
  ACX_OUT_CORRUPT,
  ACX_OUT_ERROR,
  ACX_OUT_FAULT,
  ACX_OUT_PDE_ACCESSED,
  ACX_OUT_PDE_DIRTY,
  ACX_OUT_PTE_ACCESSED,
  ACX_OUT_PTE_DIRTY,
  ACX_PDE_ACCESSED,
  ACX_PDE_BIT13,
  ACX_PDE_BIT36,
  ACX_PDE_BIT51,
  ACX_PDE_DIRTY,
  ACX_PDE_NX,
  ACX_PDE_PAGE_SIZE,
  ACX_PDE_PRESENT,
  ACX_PDE_USER,
  ACX_PDE_WRITABLE,
  ACX_PDPTE_READONLY,
  ACX_PKE,
  ACX_PKEY,
  ACX_PKRU_AD,
  ACX_PKRU_WD,
  ACX_PREREAD,
  ACX_PTE_ACCESSED,
  ACX_PTE_BIT36,
  ACX_PTE_BIT51,
  ACX_PTE_DIRTY,
  ACX_PTE_NX,
  ACX_PTE_PRESENT,
  ACX_PTE_USER,
  ACX_PTE_WRITABLE,
  ACX_SMEP,
  ACX_USER,
  ACX_WP,
  ACX_WRITE,
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PKE,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  FOLLOW_NONE,
  PAGE_SHIFT,
  PT64_PKEY_BIT,
  VCPU_CR0,
  VCPU_CR3,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_FAULT_GVA,
  VCPU_MAXPHYADDR,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
  VCPU_WALK_ERROR,
  VCPU_WALK_GFN,
  WALK_FAULT,
} from '../abi';
import { guestWalk } from '../mmu/guest_walk';
import { guestPagePtr, guestPagePtrForWrite } from '../mmu/memslot';
import {
  PT64_BASE_MASK,
  PT64_NX,
  PT_ACCESSED,
  PT_DIRTY,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from '../mmu/pte_bits';

const BIT13: u64 = (<u64>1) << 13;
const BIT36: u64 = (<u64>1) << 36;
const BIT51: u64 = (<u64>1) << 51;
/** PKRU of rows with CR4.PKE = 0, which must ignore it: denies every key but 0. */
const PKRU_DENY_ALL: u32 = 0xfffffffc;
/** Key 2 denied; the key 1 bits are the row's. */
const PKRU_DENY_KEY2: u32 = 0x30;

/** `bits` if the bit of the input word is set. */
function when(id: u32, bit: u32, bits: u64): u64 {
  return ((id >> bit) & 1) != 0 ? bits : 0;
}

/** The same for a register. */
function when32(id: u32, bit: u32, bits: u32): u32 {
  return ((id >> bit) & 1) != 0 ? bits : 0;
}

/** An entry that points to a gfn. */
function entryTo(gfn: u32): u64 {
  return (<u64>gfn) << (<u64>PAGE_SHIFT);
}

function rowPde(job: usize, id: u32): u64 {
  const large = ((id >> ACX_PDE_PAGE_SIZE) & 1) != 0;
  let pde =
    when(id, ACX_PDE_PRESENT, PT_PRESENT) |
    when(id, ACX_PDE_WRITABLE, PT_WRITABLE) |
    when(id, ACX_PDE_USER, PT_USER) |
    when(id, ACX_PDE_ACCESSED, PT_ACCESSED) |
    when(id, ACX_PDE_DIRTY, PT_DIRTY) |
    when(id, ACX_PDE_PAGE_SIZE, PT_PAGE_SIZE) |
    when(id, ACX_PDE_NX, PT64_NX) |
    when(id, ACX_PDE_BIT51, BIT51) |
    when(id, ACX_PDE_BIT36, BIT36) |
    when(id, ACX_PDE_BIT13, BIT13);
  // The leaf gets key 1; a PDE that is no leaf gets key 2, which PKRU denies and which must not count.
  pde |= when(id, ACX_PKEY, (large ? <u64>1 : <u64>2) << (<u64>PT64_PKEY_BIT));
  return (
    pde | entryTo(large ? load<u32>(job, ACX_JOB_LARGE_GFN) : load<u32>(job, ACX_JOB_TABLE_GFN) + 3)
  );
}

function rowPte(job: usize, id: u32): u64 {
  if (((id >> ACX_PDE_PAGE_SIZE) & 1) != 0) return 0;
  return (
    when(id, ACX_PTE_PRESENT, PT_PRESENT) |
    when(id, ACX_PTE_WRITABLE, PT_WRITABLE) |
    when(id, ACX_PTE_USER, PT_USER) |
    when(id, ACX_PTE_ACCESSED, PT_ACCESSED) |
    when(id, ACX_PTE_DIRTY, PT_DIRTY) |
    when(id, ACX_PTE_NX, PT64_NX) |
    when(id, ACX_PTE_BIT51, BIT51) |
    when(id, ACX_PTE_BIT36, BIT36) |
    when(id, ACX_PKEY, (<u64>1) << (<u64>PT64_PKEY_BIT)) |
    entryTo(load<u32>(job, ACX_JOB_PAGE_GFN))
  );
}

/** Decodes an input word into the row's part of the job block. */
export function accessRow(job: usize, id: u32): void {
  const pdpte = PT_PRESENT | PT_USER | (when(id, ACX_PDPTE_READONLY, PT_WRITABLE) ^ PT_WRITABLE);
  store<u64>(job, pdpte | entryTo(load<u32>(job, ACX_JOB_TABLE_GFN) + 2), ACX_JOB_PDPTE);
  store<u64>(job, rowPde(job, id), ACX_JOB_PDE);
  store<u64>(job, rowPte(job, id), ACX_JOB_PTE);
  store<u32>(job, CR0_PG | when32(id, ACX_WP, CR0_WP), ACX_JOB_CR0);
  const cr4 = CR4_PAE | when32(id, ACX_SMEP, CR4_SMEP) | when32(id, ACX_PKE, CR4_PKE);
  store<u32>(job, cr4, ACX_JOB_CR4);
  store<u32>(job, EFER_LMA | when32(id, ACX_NXE, EFER_NXE), ACX_JOB_EFER);
  const pkru = PKRU_DENY_KEY2 | when32(id, ACX_PKRU_AD, 4) | when32(id, ACX_PKRU_WD, 8);
  store<u32>(job, ((id >> ACX_PKE) & 1) != 0 ? pkru : PKRU_DENY_ALL, ACX_JOB_PKRU);
  let flags: u32 = ACCESS_READ;
  if ((id >> ACX_WRITE) & 1) flags = ACCESS_WRITE;
  if ((id >> ACX_FETCH) & 1) flags = ACCESS_FETCH;
  if (((id >> ACX_USER) & 1) == 0) flags |= ACCESS_SUPERVISOR;
  store<u32>(job, flags, ACX_JOB_FLAGS);
  store<u32>(job, (id >> ACX_PREREAD) & 1, ACX_JOB_PREREAD);
  const offset = (<u32>(load<u64>(job, ACX_JOB_GVA) >> (<u64>PAGE_SHIFT))) & 511;
  const large = ((id >> ACX_PDE_PAGE_SIZE) & 1) != 0;
  store<u32>(
    job,
    large ? load<u32>(job, ACX_JOB_LARGE_GFN) + offset : load<u32>(job, ACX_JOB_PAGE_GFN),
    ACX_JOB_GFN,
  );
}

/** Outcome word of a row whose accesses are made; the arguments as for accessRowOutcome(). */
function outcomeWord(job: usize, faulted: bool, error: u32, gfn: u32, pde: u64, pte: u64): u32 {
  const changed =
    ((pde ^ load<u64>(job, ACX_JOB_PDE)) & ~(PT_ACCESSED | PT_DIRTY)) |
    ((pte ^ load<u64>(job, ACX_JOB_PTE)) & ~(PT_ACCESSED | PT_DIRTY));
  let word: u32 = 0;
  if (faulted) word = ((<u32>1) << ACX_OUT_FAULT) | (error << ACX_OUT_ERROR);
  if (pte & PT_ACCESSED) word |= (<u32>1) << ACX_OUT_PTE_ACCESSED;
  if (pte & PT_DIRTY) word |= (<u32>1) << ACX_OUT_PTE_DIRTY;
  if (pde & PT_ACCESSED) word |= (<u32>1) << ACX_OUT_PDE_ACCESSED;
  if (pde & PT_DIRTY) word |= (<u32>1) << ACX_OUT_PDE_DIRTY;
  const wrongGfn = !faulted && gfn != load<u32>(job, ACX_JOB_GFN);
  if (changed != 0 || wrongGfn) word |= (<u32>1) << ACX_OUT_CORRUPT;
  return word;
}

/** Entry of a table at the index that the job's address has at a level. */
function entryPtr(job: usize, table: usize, level: u32): usize {
  const shift = <u64>(PAGE_SHIFT + 9 * (level - 1));
  return table + ((<usize>((load<u64>(job, ACX_JOB_GVA) >> shift) & 511)) << 3);
}

/** Sets the vCPU's registers for a row. */
function loadRegisters(job: usize, vcpu: usize): void {
  store<u32>(vcpu, load<u32>(job, ACX_JOB_CR0), VCPU_CR0);
  store<u32>(vcpu, load<u32>(job, ACX_JOB_CR4), VCPU_CR4);
  store<u32>(vcpu, load<u32>(job, ACX_JOB_EFER), VCPU_EFER);
  store<u32>(vcpu, load<u32>(job, ACX_JOB_PKRU), VCPU_PKRU);
  store<u64>(vcpu, load<u64>(job, ACX_JOB_GVA), VCPU_FAULT_GVA);
}

/**
 * Runs `n` rows through the guest walker: input words (u32) at `ids`, outcome words (u16) to `out`.
 * The four table pages must be present and writable in the host.
 */
export function accessRowsWalk(job: usize, ids: usize, out: usize, n: u32): void {
  const vcpu = <usize>load<u32>(job, ACX_JOB_VCPU);
  const gfn = load<u32>(job, ACX_JOB_TABLE_GFN);
  const pdpt = guestPagePtrForWrite(gfn + 1);
  const pd = guestPagePtrForWrite(gfn + 2);
  const pt = guestPagePtrForWrite(gfn + 3);
  assert(pdpt != 0 && pd != 0 && pt != 0, 'the tables of the rows are present');
  const pml4e = entryTo(gfn + 1) | PT_PRESENT | PT_WRITABLE | PT_USER;
  store<u64>(entryPtr(job, guestPagePtrForWrite(gfn), 4), pml4e);
  store<u64>(vcpu, entryTo(gfn), VCPU_CR3);
  store<u32>(vcpu, ACX_MAXPHYADDR, VCPU_MAXPHYADDR);
  store<u32>(vcpu, 0, VCPU_RFLAGS);
  const pdptep = entryPtr(job, pdpt, 3);
  const pdep = entryPtr(job, pd, 2);
  const ptep = entryPtr(job, pt, 1);
  for (let i: u32 = 0; i < n; i++) {
    accessRow(job, load<u32>(ids + ((<usize>i) << 2)));
    loadRegisters(job, vcpu);
    store<u64>(pdptep, load<u64>(job, ACX_JOB_PDPTE));
    store<u64>(pdep, load<u64>(job, ACX_JOB_PDE));
    store<u64>(ptep, load<u64>(job, ACX_JOB_PTE));
    if (load<u32>(job, ACX_JOB_PREREAD) != 0) guestWalk(vcpu, ACCESS_READ | ACCESS_SUPERVISOR);
    const faulted = guestWalk(vcpu, load<u32>(job, ACX_JOB_FLAGS)) == WALK_FAULT;
    const word = outcomeWord(
      job,
      faulted,
      load<u32>(vcpu, VCPU_WALK_ERROR),
      load<u32>(vcpu, VCPU_WALK_GFN),
      load<u64>(pdep),
      load<u64>(ptep),
    );
    store<u16>(out + ((<usize>i) << 1), <u16>word);
  }
}

/**
 * Outcome word of the row in the job block, of which the accesses have been made some other way: the
 * entries are read from the guest's tables. `faulted` with the #PF error code, or the gfn that the
 * access went to.
 */
export function accessRowOutcome(job: usize, faulted: u32, error: u32, gfn: u32): u32 {
  const tables = load<u32>(job, ACX_JOB_TABLE_GFN);
  const pde = load<u64>(entryPtr(job, guestPagePtr(tables + 2), 2));
  const large = load<u64>(job, ACX_JOB_PDE) & PT_PAGE_SIZE;
  const pte = large != 0 ? 0 : load<u64>(entryPtr(job, guestPagePtr(tables + 3), 1));
  return outcomeWord(job, faulted != 0, error, gfn, pde, pte);
}

/** Frame that the shadow tables map the job's address to, whatever the rights; FOLLOW_NONE: it is to none. */
export function accessRowPfn(job: usize): u32 {
  const vcpu = <usize>load<u32>(job, ACX_JOB_VCPU);
  const gva = load<u64>(job, ACX_JOB_GVA);
  let table = <usize>load<u32>(vcpu, VCPU_ROOT);
  for (let level = load<u32>(vcpu, VCPU_ROOT_LEVEL); table != 0; level--) {
    const spte = load<u64>(entryPtr(job, table, level));
    if ((spte & PT_PRESENT) == 0) break;
    const base = spte & PT64_BASE_MASK;
    if (level == 1 || (spte & PT_PAGE_SIZE) != 0) {
      const bits = 9 * (level - 1);
      const inside = ((<u32>1) << bits) - 1;
      const frame = <u32>(base >> (<u64>PAGE_SHIFT));
      return (frame & ~inside) | ((<u32>(gva >> (<u64>PAGE_SHIFT))) & inside);
    }
    table = <usize>base;
  }
  return FOLLOW_NONE;
}
