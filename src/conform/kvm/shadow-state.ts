// The emulator's sptes and shadow pages as a snapshot of a recording shows them.

import {
  PT_PRESENT_BIT,
  ROLE_ACCESS_SHIFT,
  ROLE_CR0_WP,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  SP_GFN,
  SP_LINK_NEXT,
  SP_PRESENT,
  SP_ROLE,
  SP_ROOT_COUNT,
  SP_UNSYNC,
  SP_UNSYNC_CHILDREN,
  SP_VALID_GEN,
  SP_WRITE_FLOODING,
  VCPU_ROOT,
} from '../../../assembly/abi.ts';
import type { Core } from '../../core/load.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { OurFrames } from './our-frames.ts';
import { gfnName, spteText } from './layout.ts';
import type { JsonObject } from './recording.ts';
import { MMIO_HIGH } from './tracepoint-words.ts';

/** Addresses of the shadow pages in use. */
export function activePages(core: Core): number[] {
  const { x, mem } = core;
  const sps: number[] = [];
  for (let sp = x.activeFirst() >>> 0; sp !== 0; sp = mem.load32(sp + SP_LINK_NEXT)) sps.push(sp);
  return sps;
}

/** Reads the shadow MMU. */
export class ShadowState {
  readonly #core: Core;
  readonly #kvm: Kvm;
  readonly #frames: OurFrames;

  constructor(kvm: Kvm, frames: OurFrames) {
    this.#core = kvm.core;
    this.#kvm = kvm;
    this.#frames = frames;
  }

  /** The spte that the current root's walk ends at. */
  spte(page: number): JsonObject {
    const { mem } = this.#core;
    const vcpu = this.#kvm.vcpus[0];
    let table = vcpu === undefined ? 0 : mem.load32(vcpu.ptr + VCPU_ROOT);
    if (table === 0) return { level: 0, spte: '0' };
    for (let level = 4; ; level--) {
      const index = Math.floor(page / 512 ** (level - 1)) % 512;
      const lo = mem.load32(table + index * 8);
      const hi = mem.load32(table + index * 8 + 4);
      const mmio = (hi & MMIO_HIGH) !== 0;
      const present = (lo >>> PT_PRESENT_BIT) & 1;
      const large = (lo & 0x80) !== 0;
      if (!present || level === 1 || (level < 4 && large)) {
        const spte = spteText(lo, hi);
        const pfn = ((lo >>> 12) | ((hi & 0xfff) << 20)) >>> 0;
        if (mmio) return { level, spte, pfn: `#mmio${pfn}` };
        if (!present) return { level, spte };
        return { level, spte, pfn: this.#frames.name(pfn) };
      }
      table = (lo & 0xfffff000) >>> 0;
    }
  }

  /** The shadow pages in use. */
  shadowPages(): JsonObject[] {
    if (this.#kvm.tdp) return [];
    const { mem } = this.#core;
    return activePages(this.#core).map((sp) => {
      const role = mem.load32(sp + SP_ROLE);
      return {
        gfn: gfnName(mem.load32(sp + SP_GFN)),
        role: roleObject(role),
        unsync: mem.load32(sp + SP_UNSYNC),
        unsync_children: mem.load32(sp + SP_UNSYNC_CHILDREN),
        root_count: mem.load32(sp + SP_ROOT_COUNT),
        flood: mem.load32(sp + SP_WRITE_FLOODING),
        present: mem.load32(sp + SP_PRESENT) + this.#mmioSptes(sp),
        gen: mem.load32(sp + SP_VALID_GEN),
      };
    });
  }

  /** MMIO sptes of a table, which are present for the processor and not for KVM. */
  #mmioSptes(sp: number): number {
    const { x, mem } = this.#core;
    const table = x.spTable(sp) >>> 0;
    let n = 0;
    for (let i = 0; i < 512; i++) if (mem.load32(table + i * 8 + 4) & MMIO_HIGH) n++;
    return n;
  }
}

function roleObject(role: number): JsonObject {
  const access = (role >>> ROLE_ACCESS_SHIFT) & 7;
  const text = `${access & 2 ? 'w' : '-'}${access & 4 ? 'u' : '-'}${access & 1 ? 'x' : '-'}`;
  return {
    level: role & ROLE_LEVEL_MASK,
    ...(role & ROLE_DIRECT ? { direct: 1 } : {}),
    ...(role & ROLE_INVALID ? { invalid: 1 } : {}),
    ...(role & ROLE_EFER_NX ? { nx: 1 } : {}),
    ...(role & ROLE_CR0_WP ? { wp: 1 } : {}),
    access: text,
  };
}
