// Where everything of a recording's machine lies: the memory slots, the guest tables and the stub
// code that the recording driver sets up, and the names that recordings use for frames and
// addresses.

/** First gfn of the data slot. */
export const DATA_GFN = 0x10000;
/** First host virtual page of the data slot (any place does: recordings name pages by number). */
export const DATA_HVN = 0x10000000;
/** First host virtual page of the infrastructure slot. */
export const INFRA_HVN = 0x20000000;
/** Pages of the infrastructure slot (slot 0, gpa 0). */
export const INFRA_PAGES = 256;
/** Most data pages that a recording may have. */
export const MAX_DATA_PAGES = 8192;
/** Page number of the data window's first gva, and of the alias window's. */
export const DATA_VPN = 0x40000;
export const ALIAS_VPN = 0x48000;

/** gfns of the guest's tables. */
export const TABLES = {
  A_PML4: 0x10,
  A_PDPT: 0x11,
  I_PD: 0x12,
  I_PT: 0x13,
  A_PD: 0x20,
  A_PT: 0x21,
  B_PML4: 0x40,
  B_PDPT: 0x41,
  B_PD: 0x42,
  B_PT: 0x43,
  ALIAS_PT: 0x50,
} as const;

const TABLE_NAMES = new Map<number, string>(Object.entries(TABLES).map(([k, v]) => [v, k]));

/** `d3`, `A_PT`, `i3`, `gfn:…`: the name of a guest frame. */
export function gfnName(gfn: number): string {
  if (gfn >= DATA_GFN && gfn < DATA_GFN + MAX_DATA_PAGES) return `d${gfn - DATA_GFN}`;
  const table = TABLE_NAMES.get(gfn);
  if (table !== undefined) return table;
  if (gfn > TABLES.A_PT && gfn < 0x30) return `A_PT${gfn - TABLES.A_PT}`;
  if (gfn < INFRA_PAGES) return `i${gfn.toString(16)}`;
  return `gfn:${gfn.toString(16)}`;
}

/** `3`, `~3`, `A_PT+0x8`: the name of a guest virtual address. */
export function gvaName(vpn: number, offset: number): string {
  let name: string;
  if (vpn >= DATA_VPN && vpn < DATA_VPN + MAX_DATA_PAGES) name = String(vpn - DATA_VPN);
  else if (vpn >= ALIAS_VPN && vpn < ALIAS_VPN + 512) name = `~${vpn - ALIAS_VPN}`;
  else if (vpn < INFRA_PAGES) name = gfnName(vpn);
  else return `0x${(vpn * 4096 + offset).toString(16)}`;
  return offset ? `${name}+0x${offset.toString(16)}` : name;
}

/** `3` or `A_PT`: the name of a host virtual page; undefined outside the slots. */
export function hvnName(hvn: number): string | undefined {
  if (hvn >= DATA_HVN && hvn < DATA_HVN + MAX_DATA_PAGES) return String(hvn - DATA_HVN);
  if (hvn >= INFRA_HVN && hvn < INFRA_HVN + INFRA_PAGES) return gfnName(hvn - INFRA_HVN);
  return undefined;
}

/** Bits of a page-table entry, low word, as the scripts' flag letters give them. */
export const FLAG_BITS: Readonly<Record<string, number>> = {
  p: 0x1,
  w: 0x2,
  u: 0x4,
  a: 0x20,
  d: 0x40,
  S: 0x80,
  g: 0x100,
};

const BIT_LETTERS: readonly [string, number][] = [
  ['p', 0],
  ['w', 1],
  ['u', 2],
  ['a', 5],
  ['d', 6],
  ['S', 7],
  ['g', 8],
];

function letters(lo: number, hi: number): string {
  let s = '';
  for (const [letter, bit] of BIT_LETTERS) s += (lo >>> bit) & 1 ? letter : '-';
  return s + (hi >>> 31 ? 'n' : 'x');
}

function hex64(lo: number, hi: number): string {
  return ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16);
}

/** A guest pte as recordings print it: `pwua---x`, `0`, `notpresent:10006000`. */
export function gpteText(lo: number, hi: number): string {
  if (lo === 0 && (hi === 0 || hi >>> 0 === 0x80000000)) return '0';
  if (!(lo & 1)) return `notpresent:${hex64(lo, hi)}`;
  return letters(lo, hi);
}

/** A host pte as recordings print it. */
export function hpteText(lo: number, hi: number): string {
  if (lo === 0 && (hi === 0 || hi >>> 0 === 0x80000000)) return '0';
  if (!(lo & 1)) return (lo >>> 8) & 1 ? 'protnone' : 'swap';
  return letters(lo, hi);
}

/** gfn of a guest pte: bits 51:12. */
export function gpteGfn(lo: number, hi: number): number {
  return (hi & 0xfffff) * 1048576 + (lo >>> 12);
}

/** An spte as recordings print it: bits, then `/` H host-writable, M MMU-writable, T present. */
export function spteText(lo: number, hi: number): string {
  // AMD's MMIO sptes are present with bit 51 set, which the processor takes for a reserved bit.
  if (hi & (1 << 19)) lo |= 1;
  if (lo === 0 && (hi === 0 || hi >>> 0 === 0x80000000)) return '0';
  if (!(lo & 1)) return `notpresent:${hex64(lo, hi)}`;
  const h = (lo >>> 9) & 1 ? 'H' : '-';
  const m = (lo >>> 10) & 1 ? 'M' : '-';
  const t = (lo >>> 11) & 1 ? 'T' : '-';
  return `${letters(lo, hi)}/${h}${m}${t}`;
}

/** Page-fault error code in words. */
export function pfecText(code: number, high = 0): string {
  const names: string[] = [];
  for (const [bit, name] of [
    [0, 'P'],
    [1, 'W'],
    [2, 'U'],
    [3, 'RSVD'],
    [4, 'F'],
  ] as const) {
    if ((code >>> bit) & 1) names.push(name);
  }
  if (high & 1) names.push('GUEST_FINAL');
  if (high & 2) names.push('GUEST_PAGE');
  return names.join('|') || '-';
}

/** Offsets of the driver's stubs in the code page (gpa 0x3000) and of their instructions. */
export const CODE_GFN = 3;
export const STUB = {
  read: 0x00,
  write: 0x04,
  read8: 0x09,
  write8: 0x0e,
  exec: 0x13,
  lock: 0x17,
  invlpg: 0x1c,
  cr3: 0x21,
  cr0: 0x26,
  cr4: 0x2b,
  nop: 0x30,
  reads: 0x32,
  writes: 0x3e,
  rw: 0x4b,
  pf: 0x52,
  bad: 0x58,
} as const;
