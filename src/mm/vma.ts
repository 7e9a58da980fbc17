// Virtual memory areas: small immutable records, kept sorted. A change replaces the record.

/** vm_flags (include/linux/mm.h); VM_RESIDENT is ours. */
export const VM_READ = 1;
export const VM_WRITE = 2;
export const VM_EXEC = 4;
export const VM_SHARED = 8;
/** mlock: the pages are on no list that is scanned. */
export const VM_LOCKED = 0x2000;
/** MADV_DONTFORK. */
export const VM_DONTCOPY = 0x20000;
/** hugetlb: unmapped by its own function. */
export const VM_HUGETLB = 0x400000;
/** MAP_NORESERVE: does not merge with memory that is accounted. */
export const VM_NORESERVE = 0x200000;
/** MADV_HUGEPAGE. */
export const VM_HUGEPAGE = 0x20000000;
/** Shared memory whose writes are to be seen since clear_refs (VM_SOFTDIRTY is clear): ptes start read-only. */
export const VM_WRITE_NOTIFY = 0x200;
/** MADV_NOHUGEPAGE. */
export const VM_NOHUGEPAGE = 0x40000000;
/** MADV_MERGEABLE. */
export const VM_MERGEABLE = 0x08000000;
/** Resident and outside the host's limit: pages of the guest's own tables, when asked for. */
export const VM_RESIDENT = 0x100;

/** One area: pages [start, end). */
export interface Vma {
  /** First page (hva >> 12). */
  readonly start: number;
  /** Page after the last. */
  readonly end: number;
  /** VM_*. */
  readonly flags: number;
  /** Id of the file behind it, 0: anonymous memory. */
  readonly file: number;
  /** Page offset in the file of `start`; of anonymous memory, `start` where it was first mapped. */
  readonly pgoff: number;
  /** It has had an anonymous page (vma->anon_vma): only then does fork copy ptes. */
  readonly anon?: boolean;
  /** A page was faulted in: there are page tables under it, which munmap may free. */
  readonly faulted?: boolean;
}

/** `vmas` with VM_* flags of [start, end) set and cleared. */
export function vmasFlagged(
  vmas: readonly Vma[],
  start: number,
  end: number,
  set: number,
  clear: number,
): Vma[] {
  const parts = vmasWithin(vmas, start, end).map((vma) => ({
    ...vma,
    flags: (vma.flags | set) & ~clear,
  }));
  return vmasJoined(vmasWithout(vmas, start, end), parts);
}

/** The parts of `vmas` outside [start, end), in order. */
export function vmasWithout(vmas: readonly Vma[], start: number, end: number): Vma[] {
  const kept: Vma[] = [];
  for (const vma of vmas) {
    if (vma.end <= start || vma.start >= end) {
      kept.push(vma);
      continue;
    }
    if (vma.start < start) kept.push({ ...vma, end: start });
    if (vma.end > end) kept.push({ ...vma, start: end, pgoff: vma.pgoff + (end - vma.start) });
  }
  return kept;
}

/** The parts of `vmas` inside [start, end), in order. */
export function vmasWithin(vmas: readonly Vma[], start: number, end: number): Vma[] {
  const parts: Vma[] = [];
  for (const vma of vmas) {
    const from = Math.max(vma.start, start);
    const to = Math.min(vma.end, end);
    if (from < to)
      parts.push({ ...vma, start: from, end: to, pgoff: vma.pgoff + from - vma.start });
  }
  return parts;
}

/** `vmas` and `added`, sorted, with neighbours of one kind joined (vma_merge). */
export function vmasJoined(vmas: readonly Vma[], added: readonly Vma[]): Vma[] {
  const all = [...vmas, ...added].toSorted((a, b) => a.start - b.start);
  const joined: Vma[] = [];
  for (const vma of all) {
    const last = joined.at(-1);
    const same =
      last !== undefined &&
      last.end === vma.start &&
      last.flags === vma.flags &&
      last.file === vma.file &&
      last.pgoff + (last.end - last.start) === vma.pgoff;
    if (same) {
      const anon = last.anon === true || vma.anon === true;
      const faulted = last.faulted === true || vma.faulted === true;
      joined[joined.length - 1] = { ...last, end: vma.end, anon, faulted };
    } else joined.push(vma);
  }
  return joined;
}
