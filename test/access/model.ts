// A second opinion: x86 paging written plainly from the text of the Intel SDM, volume 3A, chapter 4,
// with bigint and no cleverness, and independent of the core. Tests hold the core against it.
// Section and table numbers are those of the SDM.

/** Registers that paging reads. */
export interface Registers {
  readonly mode: '32-bit' | 'PAE' | '4-level' | '5-level';
  readonly cr3: bigint;
  readonly wp: boolean;
  readonly pse: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pke: boolean;
  readonly nxe: boolean;
  /** EFLAGS.AC. */
  readonly ac: boolean;
  readonly pkru: number;
  readonly maxPhyAddr: number;
  /** CPUID.80000001H:EDX.Page1GB. */
  readonly page1GB: boolean;
  /** PDPTE registers of PAE paging. */
  readonly pdptes?: readonly bigint[];
}

/** One access to a linear address. */
export interface Access {
  readonly address: bigint;
  readonly kind: 'read' | 'write' | 'fetch';
  readonly cpl: 0 | 3;
  /** To a system data structure, such as the GDT: supervisor mode whatever the CPL. */
  readonly implicit: boolean;
}

/** Guest-physical memory: undefined where there is none. */
export interface PhysicalMemory {
  read(address: bigint, bytes: 4 | 8): bigint | undefined;
  write(address: bigint, bytes: 4 | 8, value: bigint): void;
}

/** What the access does. */
export type Outcome =
  | { readonly kind: 'general-protection' }
  | { readonly kind: 'page-fault'; readonly errorCode: number }
  | { readonly kind: 'translated'; readonly physical: bigint; readonly pageBytes: bigint };

/** A paging structure: what its entries are called, what they may map, which bits are reserved. */
interface Structure {
  readonly name: string;
  /** Lowest and highest bit of the linear address that select the entry. */
  readonly select: readonly [number, number];
  /** Reserved ranges, inclusive, of an entry that maps a page; undefined: PS maps no page here. */
  readonly page?: readonly (readonly [number, number])[];
  /** Reserved ranges of an entry that references another structure; undefined: always a page. */
  readonly table?: readonly (readonly [number, number])[];
  /** log2 of the page size. */
  readonly pageBits?: number;
}

/** Value of bits high:low. */
function bits(value: bigint, high: number, low: number): bigint {
  return (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
}

function isSet(value: bigint, n: number): boolean {
  return bits(value, n, n) === 1n;
}

/** The structures of a mode from the root down (figures 4-2, 4-5, 4-8). */
function structures(r: Registers): Structure[] {
  const m = r.maxPhyAddr;
  if (r.mode === '32-bit') {
    // Table 4-4: bits 20:13 of a 4 MiB PDE hold bits 39:32 of the address; M = min(40, MAXPHYADDR).
    const top = Math.min(40, m) - 19;
    const pde: Structure = { name: 'PDE', select: [22, 31], table: [] };
    return [
      r.pse ? { ...pde, page: top <= 21 ? [[top, 21]] : [], pageBits: 22 } : pde,
      { name: 'PTE', select: [12, 21], page: [], pageBits: 12 },
    ];
  }
  const high: (readonly [number, number])[] = [];
  if (r.mode === 'PAE')
    high.push([m, 62]); // tables 4-9 to 4-11
  else if (m < 52) high.push([m, 51]); // tables 4-15 to 4-20
  if (!r.nxe) high.push([63, 63]);
  const pde: Structure = {
    name: 'PDE',
    select: [21, 29],
    table: high,
    page: [...high, [13, 20]],
    pageBits: 21,
  };
  const pte: Structure = { name: 'PTE', select: [12, 20], page: high, pageBits: 12 };
  if (r.mode === 'PAE') return [pde, pte];
  const pdpte: Structure = { name: 'PDPTE', select: [30, 38], table: high };
  const levels: Structure[] = [
    { name: 'PML4E', select: [39, 47], table: high },
    r.page1GB ? { ...pdpte, page: [...high, [13, 29]], pageBits: 30 } : pdpte,
    pde,
    pte,
  ];
  if (r.mode === '5-level') levels.unshift({ name: 'PML5E', select: [48, 56], table: high });
  return levels;
}

/** 3.3.7.1: canonical means that the bits above the translated ones equal the highest of those. */
function canonical(r: Registers, address: bigint): boolean {
  if (r.mode === '32-bit' || r.mode === 'PAE') return address < 1n << 32n;
  const top = r.mode === '5-level' ? 56 : 47;
  const above = bits(address, 63, top);
  return above === 0n || above === (1n << BigInt(64 - top)) - 1n;
}

/** 4.6: supervisor-mode accesses are those at CPL < 3 and the implicit ones. */
function isSupervisor(access: Access): boolean {
  return access.implicit || access.cpl < 3;
}

/** 4.6.1 for an address with the given combined rights. */
function rightsAllow(
  r: Registers,
  access: Access,
  userPage: boolean,
  writable: boolean,
  executeDisable: boolean,
): boolean {
  if (!isSupervisor(access)) {
    if (!userPage) return false;
    if (access.kind === 'write') return writable;
    return access.kind === 'read' || !executeDisable;
  }
  if (access.kind === 'fetch') {
    if (userPage && r.smep) return false;
    return !executeDisable;
  }
  if (userPage && r.smap) {
    // Explicit accesses are allowed with EFLAGS.AC = 1, implicit ones never.
    if (access.implicit || !r.ac) return false;
  }
  return access.kind === 'read' || writable || !r.wp;
}

/** 4.6.2: protection keys bar data accesses to user-mode addresses. */
function keyAllows(r: Registers, access: Access, userPage: boolean, key: number): boolean {
  const ia32e = r.mode === '4-level' || r.mode === '5-level';
  if (!ia32e || !r.pke || !userPage || access.kind === 'fetch') return true;
  const accessDisable = Math.floor(r.pkru / 2 ** (2 * key)) % 2 === 1;
  const writeDisable = Math.floor(r.pkru / 2 ** (2 * key + 1)) % 2 === 1;
  if (accessDisable) return false;
  if (access.kind !== 'write' || !writeDisable) return true;
  return isSupervisor(access) && !r.wp;
}

/** 4.7, figure 4-12. */
function errorCode(
  r: Registers,
  access: Access,
  cause: { present: boolean; reserved: boolean; key: boolean },
): number {
  let code = 0;
  if (cause.present) code += 1;
  if (access.kind === 'write') code += 2;
  if (!isSupervisor(access)) code += 4;
  if (cause.reserved) code += 8;
  if (access.kind === 'fetch' && (r.smep || (r.mode !== '32-bit' && r.nxe))) code += 16;
  if (cause.key) code += 32;
  return code;
}

function mapsPage(s: Structure, entry: bigint): boolean {
  return s.table === undefined || (s.page !== undefined && isSet(entry, 7));
}

/** Whether a present entry has a reserved bit set. */
function reservedBitSet(s: Structure, entry: bigint): boolean {
  // PS is reserved in PML5Es and PML4Es, and in PDPTEs without 1 GiB pages (tables 4-14 to 4-16).
  if ((s.name === 'PML5E' || s.name === 'PML4E' || s.name === 'PDPTE') && s.page === undefined) {
    if (isSet(entry, 7)) return true;
  }
  const ranges = (mapsPage(s, entry) ? s.page : s.table) ?? [];
  return ranges.some(([low, high]) => bits(entry, high, low) !== 0n);
}

/** Address of the page that an entry maps. */
function pageAddress(r: Registers, s: Structure, entry: bigint): bigint {
  const size = s.pageBits as number;
  if (r.mode === '32-bit') {
    const low = bits(entry, 31, size) << BigInt(size);
    return size === 22 ? low + (bits(entry, 20, 13) << 32n) : low;
  }
  return bits(entry, 51, size) << BigInt(size);
}

/**
 * Makes one access. Accessed and dirty flags are set as the emulator's policy has it: none on a
 * fault, else A in every entry used and D in the one that maps the page of a write (4.8).
 */
export function translate(r: Registers, access: Access, memory: PhysicalMemory): Outcome {
  if (!canonical(r, access.address)) return { kind: 'general-protection' };
  const bytes = r.mode === '32-bit' ? 4 : 8;
  const fault = (present: boolean, reserved: boolean, key: boolean): Outcome => ({
    kind: 'page-fault',
    errorCode: errorCode(r, access, { present, reserved, key }),
  });

  let table: bigint;
  if (r.mode === 'PAE') {
    const pdpte = (r.pdptes as readonly bigint[])[Number(bits(access.address, 31, 30))] as bigint;
    if (!isSet(pdpte, 0)) return fault(false, false, false);
    table = bits(pdpte, 51, 12) << 12n;
  } else {
    table = bits(r.cr3, r.mode === '32-bit' ? 31 : 51, 12) << 12n;
  }

  const used: { at: bigint; entry: bigint }[] = [];
  let userPage = true;
  let writable = true;
  let executeDisable = false;
  for (const s of structures(r)) {
    const at = table + bits(access.address, s.select[1], s.select[0]) * BigInt(bytes);
    const entry = memory.read(at, bytes);
    // KVM's answer to a structure outside memory: as if the entry were not present.
    if (entry === undefined || !isSet(entry, 0)) return fault(false, false, false);
    if (reservedBitSet(s, entry)) return fault(true, true, false);
    used.push({ at, entry });
    userPage &&= isSet(entry, 2);
    writable &&= isSet(entry, 1);
    executeDisable ||= bytes === 8 && isSet(entry, 63);
    if (!mapsPage(s, entry)) {
      table = bits(entry, bytes === 8 ? 51 : 31, 12) << 12n;
      continue;
    }
    const key = Number(bits(entry, 62, 59));
    const keyOk = keyAllows(r, access, userPage, key);
    if (!keyOk || !rightsAllow(r, access, userPage, writable, executeDisable)) {
      return fault(true, false, !keyOk);
    }
    setFlags(memory, used, bytes, access.kind === 'write');
    const size = BigInt(s.pageBits as number);
    const physical = pageAddress(r, s, entry) + bits(access.address, Number(size) - 1, 0);
    return { kind: 'translated', physical, pageBytes: 1n << size };
  }
  throw new Error('the last structure always maps a page');
}

function setFlags(
  memory: PhysicalMemory,
  used: readonly { at: bigint; entry: bigint }[],
  bytes: 4 | 8,
  write: boolean,
): void {
  used.forEach(({ at, entry }, i) => {
    let flagged = entry | 0x20n;
    if (write && i === used.length - 1) flagged |= 0x40n;
    if (flagged !== entry) memory.write(at, bytes, flagged);
  });
}
