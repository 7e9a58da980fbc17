// The guest's page tables: 4 levels that lie in guest memory, made and freed by the guest kernel. Every entry
// is read and written through the vCPU as the guest kernel's own instruction would.
//
//   gpte: | gfn | 9 SW_READ_ONLY | 6 D | 5 A | 2 U | 1 W | 0 P |
//
// A table's user count (GuestFrames) is the number of its entries that are present.

import {
  NO_GFN,
  PT_ACCESSED_BIT,
  PT_PRESENT_BIT,
  PT_USER_BIT,
  PT_WRITABLE_BIT,
} from '../../assembly/abi.ts';
import { DataError } from '../core/errors.ts';
import type { GuestFrames } from './frames.ts';

/** Bits of a gpte. */
export const P = 1 << PT_PRESENT_BIT;
export const W = 1 << PT_WRITABLE_BIT;
export const U = 1 << PT_USER_BIT;
export const A = 1 << PT_ACCESSED_BIT;
/** Software bit 9: mprotect made the page read-only (a write is the program's error, not COW). */
export const SW_READ_ONLY = 1 << 9;
/** End of the page numbers of a 48-bit address space. */
export const VPN_END = 2 ** 36;
export const LEAF_RIGHTS = P | W | U | SW_READ_ONLY;
const TABLE = P | W | U | A;

/** The part of a vCPU that the guest kernel runs on. */
export interface GuestCpu {
  /** Index of the vCPU. */
  readonly id: number;
  setCr3(gfn: number, pcid: number, noFlush: boolean): void;
  /** Flushes the page of a gva, given by its page number (36 bits). */
  invlpg(vpn: number): void;
  writeGuestPte(tableGfn: number, index: number, lo: number, hi: number): void;
  readGuestPteLo(tableGfn: number, index: number): number;
  readGuestPteHi(tableGfn: number, index: number): number;
}

/** Index of a page's entry in its table at a level. */
export function indexAt(vpn: number, level: number): number {
  return Math.floor(vpn / 512 ** (level - 1)) % 512;
}

/** gfn in a gpte of which the guest kernel knows that it fits 32 bits of frame number. */
export function gpteGfn(lo: number, hi: number): number {
  return ((hi & 0xfffff) * 0x100000 + (lo >>> 12)) >>> 0;
}

/** Low word of a gpte. */
export function gpteLo(gfn: number, bits: number): number {
  return ((gfn << 12) | bits) >>> 0;
}

/** High word of a gpte. */
export function gpteHi(gfn: number): number {
  return gfn >>> 20;
}

/** One visit of a walk: a present leaf entry. */
export type LeafVisitor = (
  vpn: number,
  table: number,
  index: number,
  lo: number,
  hi: number,
) => void;

/** The tables of all processes. */
export class GuestTables {
  readonly #frames: GuestFrames;

  constructor(frames: GuestFrames) {
    this.#frames = frames;
  }

  /** gfn of a fresh table, all zero. */
  alloc(): number {
    const gfn = this.#frames.alloc();
    if (gfn === NO_GFN) {
      throw new DataError(
        `the guest ran out of page-table pages (${this.#frames.count}): give the guest more memory`,
      );
    }
    return gfn;
  }

  /** gfn of the leaf table of a page, or NO_GFN when there is none and `make` is false. */
  leafTable(cpu: GuestCpu, cr3: number, vpn: number, make: boolean): number {
    let table = cr3;
    for (let level = 4; level > 1; level--) {
      const index = indexAt(vpn, level);
      const lo = cpu.readGuestPteLo(table, index);
      if ((lo & P) !== 0) {
        table = gpteGfn(lo, cpu.readGuestPteHi(table, index));
        continue;
      }
      if (!make) return NO_GFN;
      const child = this.alloc();
      cpu.writeGuestPte(table, index, gpteLo(child, TABLE), gpteHi(child));
      this.#frames.addUsers(table, 1);
      table = child;
    }
    return table;
  }

  /** Unhooks an empty leaf table, and upper tables that become empty by it; `flush` takes the translations back. */
  freeLeafTable(cpu: GuestCpu, cr3: number, vpn: number, leaf: number, flush: () => void): void {
    const path = [cr3];
    for (let level = 4; level > 2; level--) {
      const table = path[4 - level] as number;
      const index = indexAt(vpn, level);
      path.push(gpteGfn(cpu.readGuestPteLo(table, index), cpu.readGuestPteHi(table, index)));
    }
    let child = leaf;
    for (let level = 2; level <= 4; level++) {
      const table = path[4 - level] as number;
      cpu.writeGuestPte(table, indexAt(vpn, level), 0, 0);
      flush();
      this.#frames.free(child);
      if (this.#frames.addUsers(table, -1) > 0 || level === 4) return;
      child = table;
    }
  }

  /** Calls `visit` for each page of a range that a present leaf entry of a process maps. */
  walkRange(cpu: GuestCpu, root: number, vpn: number, count: number, visit: LeafVisitor): void {
    for (let page = vpn; page < Math.min(vpn + count, VPN_END); page++) {
      const table = this.leafTable(cpu, root, page, false);
      if (table === NO_GFN) continue;
      const index = indexAt(page, 1);
      const lo = cpu.readGuestPteLo(table, index);
      if ((lo & P) !== 0) visit(page, table, index, lo, cpu.readGuestPteHi(table, index));
    }
  }

  /** Calls `visit` for each present leaf entry below a table. */
  walk(cpu: GuestCpu, table: number, level: number, vpn: number, visit: LeafVisitor): void {
    let left = this.#frames.users(table);
    for (let index = 0; index < 512 && left > 0; index++) {
      const lo = cpu.readGuestPteLo(table, index);
      if ((lo & P) === 0) continue;
      left--;
      const hi = cpu.readGuestPteHi(table, index);
      const page = vpn + index * 512 ** (level - 1);
      if (level === 1) visit(page, table, index, lo, hi);
      else this.walk(cpu, gpteGfn(lo, hi), level - 1, page, visit);
    }
  }

  /** Clears every entry, so that a freed table is all zero when it is used again; `unuse` gets the data pages. */
  free(cpu: GuestCpu, table: number, level: number, unuse: (gfn: number) => void): void {
    let left = this.#frames.users(table);
    this.#frames.addUsers(table, -left);
    for (let index = 0; index < 512 && left > 0; index++) {
      const lo = cpu.readGuestPteLo(table, index);
      if ((lo & P) === 0) continue;
      left--;
      const child = gpteGfn(lo, cpu.readGuestPteHi(table, index));
      cpu.writeGuestPte(table, index, 0, 0);
      if (level > 1) this.free(cpu, child, level - 1, unuse);
      else unuse(child);
    }
    this.#frames.free(table);
  }
}
