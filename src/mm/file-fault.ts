// A fault at a page of a file that nothing maps yet (cf. do_read_fault(), do_cow_fault() and
// do_shared_fault() in mm/memory.c, shmem_fault() in mm/shmem.c, 6.1): it is found in the page cache or
// read, and mapped, or copied at once when a private mapping is written.

import * as abi from '../../assembly/abi.ts';
import {
  ARGS,
  CLASSIFY,
  COW_FILE,
  ENOMEM,
  FILE_MAP,
  HVN,
  PFN,
  RESULT,
  RETURN,
  SHMEM_MAP,
  charge,
  readError,
} from './fault-frame.ts';
import type { Mm } from './mm.ts';
import type { Vma } from './vma.ts';
import { installCopy } from './wp-fault.ts';

/** fault_around_bytes: 64 KiB. */
const FAULT_AROUND_PAGES = 16;

/** Looks the page up in the page cache, or reads it. */
export function fileRead(s: Int32Array, at: number, mm: Mm): void {
  const { host } = mm;
  const hvn = s[at + HVN] as number;
  if (host.shmemFiles.length > 0 && host.shmemFiles.includes(mm.fileOf(hvn))) {
    return shmemRead(s, at, mm);
  }
  const offset = mm.pgoffOf(hvn);
  const args = s[at + ARGS] as number;
  const found = host.core.x.filemapRead(mm.fileOf(hvn), offset, args) >>> 0;
  if (found === 0) {
    s[at + RESULT] = ENOMEM;
    s[at] = RETURN;
    return;
  }
  s[at + PFN] = found & ~abi.IO_MAJOR;
  const cow = (args & (abi.MAP_WRITE_FAULT | abi.MAP_SHARED)) === abi.MAP_WRITE_FAULT;
  if (cow) charge(s, at, mm, COW_FILE);
  else s[at] = FILE_MAP;
  if ((found & abi.IO_MAJOR) === 0) return;
  if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, hvn);
  s[at + RESULT] = abi.VM_FAULT_MAJOR;
  if (host.disk.read(offset) < 0) readError(s, at, mm);
}

/** shmem_fault(), after the pages around were looked for (do_read_fault, do_shared_fault, do_cow_fault). */
function shmemRead(s: Int32Array, at: number, mm: Mm): void {
  const { host } = mm;
  const hvn = s[at + HVN] as number;
  const args = s[at + ARGS] as number;
  const file = mm.fileOf(hvn);
  const offset = mm.pgoffOf(hvn);
  s[at] = RETURN;
  if ((args & abi.MAP_WRITE_FAULT) === 0 && faultAround(mm, hvn, args) === 1) {
    s[at + RESULT] = abi.VM_FAULT_NOPAGE;
    return;
  }
  const slot = host.core.x.shmemSlot(file, offset);
  const found = host.core.x.shmemGet(file, offset, args) >>> 0;
  if (found === 0) {
    s[at + RESULT] = ENOMEM;
    return;
  }
  s[at + PFN] = found & ~abi.IO_MAJOR;
  s[at + RESULT] = abi.VM_FAULT_LOCKED;
  if ((found & abi.IO_MAJOR) !== 0) {
    if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, hvn);
    s[at + RESULT] = abi.VM_FAULT_LOCKED | abi.VM_FAULT_MAJOR;
    host.swap.read(slot);
  }
  const cow = (args & (abi.MAP_WRITE_FAULT | abi.MAP_SHARED)) === abi.MAP_WRITE_FAULT;
  if (cow) charge(s, at, mm, COW_FILE);
  else s[at] = SHMEM_MAP;
}

/**
 * do_fault_around(): maps the cached pages of 64 KiB, from an aligned place or the area's start on, in the
 * same table; 1 when the page is among them.
 */
function faultAround(mm: Mm, hvn: number, args: number): number {
  const vma = mm.findVma(hvn) as Vma;
  const start = Math.max(hvn & ~(FAULT_AROUND_PAGES - 1), vma.start);
  const tableEnd = (start & ~511) + 512;
  const end = Math.min(start + FAULT_AROUND_PAGES, vma.end, tableEnd);
  const offset = mm.pgoffOf(start);
  return mm.host.core.x.shmemMapAround(mm.id, hvn, start, end, vma.file, offset, args);
}

/** The first write to a private file page goes to a copy at once. */
export function cowFile(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  const source = s[at + PFN] as number;
  s[at] = RETURN;
  if (x.hpteGet(mm.id, s[at + HVN] as number) !== 0) {
    x.putPage(source);
    s[at] = CLASSIFY;
    return;
  }
  s[at + PFN] = x.wpCopyBegin(source, s[at + ARGS] as number);
  x.putPage(source);
  if (s[at + PFN] === 0) s[at + RESULT] = ENOMEM;
  else installCopy(s, at, mm, 0);
}
