// Virtual memory areas: small immutable records, kept sorted. A change replaces the record.

/** vm_flags (include/linux/mm.h); VM_RESIDENT is ours. */
export const VM_READ = 1;
export const VM_WRITE = 2;
export const VM_EXEC = 4;
export const VM_SHARED = 8;
/** VM_ACCESS_FLAGS. */
export const VM_ACCESS = VM_READ | VM_WRITE | VM_EXEC;
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
  /**
   * What its anonymous pages belong to (vma->anon_vma), a number within the mm that is used once; none: it has had no
   * such page, and fork copies no ptes.
   */
  readonly anon?: number;
  /** It came by fork() with anonymous pages: what those belong to in the parent. */
  readonly inherited?: number;
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
): readonly Vma[] {
  let flagged = vmas;
  for (const vma of vmasWithin(vmas, start, end)) {
    const part = { ...vma, flags: (vma.flags | set) & ~clear };
    flagged = vmaMerged(vmasWithout(flagged, part.start, part.end), part);
  }
  return flagged;
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

/** Whether `next` goes on where `vma` ends, but for the flags `ignored`. */
function continues(vma: Vma, next: Vma, ignored: number): boolean {
  return (
    vma.end === next.start &&
    ((vma.flags ^ next.flags) & ~ignored) === 0 &&
    vma.file === next.file &&
    vma.pgoff + (vma.end - vma.start) === next.pgoff
  );
}

/**
 * is_mergeable_anon_vma(): whether `vma` may grow over pages of `anon`. One that has had no anonymous page takes
 * only what has had none, either: its list of anon_vmas is empty, not one long.
 */
function takesAnon(vma: Vma, anon: number | undefined): boolean {
  if (vma.anon === anon) return true;
  return vma.anon !== undefined && anon === undefined && vma.inherited === undefined;
}

/** `vma` and `next`, which goes on where it ends, as one area. */
function joined(vma: Vma, next: Vma): Vma {
  const { anon, inherited } = vma.anon === undefined ? next : vma;
  return {
    ...vma,
    end: next.end,
    ...(anon === undefined ? {} : { anon }),
    ...(inherited === undefined ? {} : { inherited }),
    faulted: vma.faulted === true || next.faulted === true,
  };
}

/**
 * `vmas` and an area `part` that lies between them, in order, joined with its neighbours where their kinds and
 * their anonymous pages allow it (vma_merge). `mapped`: it is a new one, which prefers the area after it (mmap_region).
 */
export function vmaMerged(vmas: readonly Vma[], part: Vma, mapped = false): Vma[] {
  const at = vmas.findIndex((vma) => vma.start >= part.end);
  const after = at < 0 ? vmas.length : at;
  const [prev, next] = [vmas[after - 1], vmas[after]];
  let before = prev !== undefined && continues(prev, part, 0) && takesAnon(prev, part.anon);
  let behind = next !== undefined && continues(part, next, 0) && takesAnon(next, part.anon);
  if (before && behind && prev !== undefined && next !== undefined) {
    const both = prev.anon === next.anon || prev.anon === undefined || next.anon === undefined;
    if (mapped) before = takesAnon(prev, next.anon);
    else behind = both;
  }
  let area = part;
  if (before && prev !== undefined) area = joined(prev, area);
  if (behind && next !== undefined) area = joined(area, next);
  return [
    ...vmas.slice(0, after - (before ? 1 : 0)),
    area,
    ...vmas.slice(after + (behind ? 1 : 0)),
  ];
}

/**
 * What the first anonymous page of `vma` belongs to (find_mergeable_anon_vma): what those of a neighbour do that may
 * come to be one area with it, the next one first; undefined: something new.
 */
export function anonOf(vmas: readonly Vma[], vma: Vma): number | undefined {
  const lends = (other: Vma | undefined): boolean =>
    other?.anon !== undefined && other.inherited === undefined;
  const next = vmas.find((other) => continues(vma, other, VM_ACCESS));
  if (lends(next)) return next?.anon;
  const prev = vmas.find((other) => continues(other, vma, VM_ACCESS));
  return lends(prev) ? prev?.anon : undefined;
}
