// The whole space of an access table: which input words are valid, what each must do (in plain
// numbers, so that 13.5 million take seconds; a test holds it against model.ts), and the binary
// format. Rules from the SDM, vol. 3A, 4.6 and 4.7; the space from the tables' own description.

/** Bits of an input word. */
const PTE = { w: 1, u: 2, a: 4, d: 8, nx: 16, p: 32, b51: 64, b36: 128 } as const;
const PDE = {
  w: 1 << 8,
  u: 1 << 9,
  a: 1 << 10,
  d: 1 << 11,
  ps: 1 << 12,
  nx: 1 << 13,
  p: 1 << 14,
  b51: 1 << 15,
  b36: 1 << 16,
  b13: 1 << 17,
} as const;
const READONLY_PDPTE = 1 << 18;
const AD = 1 << 19;
const WD = 1 << 20;
const KEY = 1 << 21;
const USER = 1 << 22;
const WRITE = 1 << 23;
const FETCH = 1 << 24;
const PREREAD = 1 << 25;
const NXE = 1 << 26;
const WP = 1 << 27;
const SMEP = 1 << 28;
const PKE = 1 << 29;

/** Bits 31:18 of the valid words with CR4.SMEP as given, ascending. */
function* upperParts(smep: boolean): Generator<number> {
  for (let pke = 0; pke <= PKE; pke += PKE) {
    for (let top = 0; top < 1 << 28; top += 1 << 18) {
      if ((top & WRITE) !== 0 && (top & FETCH) !== 0) continue;
      if (pke === 0 && (top & (AD | WD)) !== 0) continue;
      // The tables leave user accesses out of their SMEP rows.
      if (smep && (top & USER) !== 0) continue;
      yield pke + (smep ? SMEP : 0) + top;
    }
  }
}

/** Bits 17:0 of the valid words, ascending; a 2 MiB page has no PTE, its flags are 0. */
function lowerParts(nxe: boolean): number[] {
  const parts: number[] = [];
  const reserved = [PTE.b51, PTE.b36, PDE.b51, PDE.b36, PDE.b13];
  if (!nxe) reserved.push(PTE.nx, PDE.nx);
  for (let low = 0; low < 1 << 18; low++) {
    if ((low & PDE.ps) !== 0 ? (low & 0xff) !== 0 : (low & PDE.b13) !== 0) continue;
    let count = 0;
    for (const mask of reserved) if ((low & mask) !== 0) count++;
    if (count <= 1) parts.push(low);
  }
  return parts;
}

/** All valid input words, ascending. */
export function validIds(smep: boolean): Uint32Array {
  const lower = [lowerParts(false), lowerParts(true)] as const;
  const uppers = [...upperParts(smep)];
  let n = 0;
  for (const upper of uppers) n += lower[(upper & NXE) === 0 ? 0 : 1].length;
  const ids = new Uint32Array(n);
  let at = 0;
  for (const upper of uppers) {
    for (const low of lower[(upper & NXE) === 0 ? 0 : 1]) ids[at++] = upper + low;
  }
  return ids;
}

/** #PF error code of one access with the entries as they are, or -1. */
function accessFault(id: number, user: boolean, write: boolean, fetch: boolean): number {
  const nxe = (id & NXE) !== 0;
  const smep = (id & SMEP) !== 0;
  const access = (write ? 2 : 0) + (user ? 4 : 0) + (fetch && (nxe || smep) ? 16 : 0);
  if ((id & PDE.p) === 0) return access;
  const reservedPde = PDE.b51 | PDE.b36 | PDE.b13 | (nxe ? 0 : PDE.nx);
  if ((id & reservedPde) !== 0) return access + 9;
  const large = (id & PDE.ps) !== 0;
  if (!large) {
    if ((id & PTE.p) === 0) return access;
    if ((id & (PTE.b51 | PTE.b36 | (nxe ? 0 : PTE.nx))) !== 0) return access + 9;
  }
  const userPage = (id & PDE.u) !== 0 && (large || (id & PTE.u) !== 0);
  const writable =
    (id & READONLY_PDPTE) === 0 && (id & PDE.w) !== 0 && (large || (id & PTE.w) !== 0);
  const noExecute = (id & PDE.nx) !== 0 || (!large && (id & PTE.nx) !== 0);
  const wp = (id & WP) !== 0;
  let denied = user && !userPage;
  if (write && !writable && (user || wp)) denied = true;
  if (fetch && (noExecute || (!user && userPage && smep))) denied = true;
  let key = false;
  if ((id & PKE) !== 0 && (id & KEY) !== 0 && userPage && !fetch) {
    key = (id & AD) !== 0 || (write && (id & WD) !== 0 && (user || wp));
  }
  if (!denied && !key) return -1;
  return access + 1 + (key ? 32 : 0);
}

/** Outcome word of an input word, with A and D of entries left alone by a fault. */
export function outcomeWord(id: number): number {
  const large = (id & PDE.ps) !== 0;
  let pteA = (id & PTE.a) !== 0;
  let pteD = (id & PTE.d) !== 0;
  let pdeA = (id & PDE.a) !== 0;
  let pdeD = (id & PDE.d) !== 0;
  if ((id & PREREAD) !== 0 && accessFault(id, false, false, false) < 0) {
    pdeA = true;
    if (!large) pteA = true;
  }
  const write = (id & WRITE) !== 0;
  const code = accessFault(id, (id & USER) !== 0, write, (id & FETCH) !== 0);
  if (code < 0) {
    pdeA = true;
    if (!large) pteA = true;
    if (write && large) pdeD = true;
    if (write && !large) pteD = true;
  }
  let word = code < 0 ? 0 : 1 + code * 2;
  if (!large && pteA) word += 1 << 7;
  if (!large && pteD) word += 1 << 8;
  if (pdeA) word += 1 << 9;
  if (pdeD) word += 1 << 10;
  return word;
}

/** Encodes rows as an ACX1 file. */
export function encodeAcx1(ids: Uint32Array, outcomes: Uint16Array): Uint8Array {
  const n = ids.length;
  const bytes = new Uint8Array(12 + 7 * n);
  let at = 12;
  let last = -1;
  for (let i = 0; i < n; i++) {
    const id = ids[i] as number;
    let step = id - last;
    last = id;
    while (step >= 128) {
      bytes[at++] = (step % 128) + 128;
      step = Math.floor(step / 128);
    }
    bytes[at++] = step;
  }
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x31584341, true);
  view.setUint32(4, n, true);
  view.setUint32(8, at - 12, true);
  for (let i = 0; i < n; i++) {
    bytes[at + i] = (outcomes[i] as number) & 255;
    bytes[at + n + i] = (outcomes[i] as number) >> 8;
  }
  return bytes.subarray(0, at + 2 * n);
}
