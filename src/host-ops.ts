// What a host does to its guest's memory behind the guest's back, by guest data page: madvise,
// mprotect, munmap, fork, reads and writes of the VMM, direct I/O, reclaim on request. With `verify`
// each operation also says what the pages must hold afterwards.

import { HPTE_PFN_SHIFT, HPTE_PRESENT, STAMP_LAZY_FREE, ZERO_PFN } from '../assembly/abi.ts';
import { DataError, KvmError } from './core/errors.ts';
import type { Advice } from './mm/madvise.ts';
import type { Mm } from './mm/mm.ts';
import { vmasWithin } from './mm/vma.ts';
import { pageReferenced } from './mm/vmscan/referenced.ts';
import type { Vm } from './machine.ts';
import type { HostOperation } from './workload/host-op.ts';

/** A page as a forked child of the VMM sees it. */
interface Child {
  readonly mm: Mm;
  /** What each data page must hold in the child. */
  readonly expected: Uint32Array;
}

/** The children that live and who is registered, for snapshots. */
export interface HostOpsRecord {
  readonly children: readonly (readonly [number, Child])[];
  readonly notifiers: readonly (readonly [string, number])[];
  readonly nextChild: number;
}

/** Pages pinned for direct I/O. */
export interface DirectIo {
  readonly page: number;
  readonly pfns: readonly number[];
}

/** What the children must see changes in place, so a snapshot has copies. */
function copyOf(children: Iterable<readonly [number, Child]>): [number, Child][] {
  return [...children].map(([id, { mm, expected }]) => [id, { mm, expected: expected.slice() }]);
}

/** Host operations on a machine's guest data; pages count from the first data page. */
export class HostOps {
  readonly #vm: Vm;
  #children = new Map<number, Child>();
  #notifiers = new Map<string, number>();
  #nextChild = 1;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** First and last+1 page, inside the guest's data. */
  #clip(page: number, count: number): { page: number; count: number } {
    const end = Math.min(page + count, this.#vm.data.count);
    return { page: Math.min(page, this.#vm.data.count - 1), count: Math.max(1, end - page) };
  }

  #hvn(page: number): number {
    return this.#vm.hvnOf(this.#vm.data.base + page);
  }

  /** A file's pages are one and the same in every process. */
  get #shared(): boolean {
    return this.#vm.backing === 'file';
  }

  #expect(page: number, value: number): void {
    if (this.#vm.verify) this.#vm.core.x.verifySet(this.#vm.data.base + page, value);
  }

  /** madvise() on a range. Result: 0 or a negative errno. */
  madvise(page: number, count: number, advice: Advice): number {
    const range = this.#clip(page, count);
    const result = this.#vm.mm.madvise(this.#hvn(range.page), range.count, advice);
    if (this.#vm.backing === 'file' || result < 0) return result;
    for (let p = range.page; p < range.page + range.count; p++) {
      if (advice === 'dontneed') this.#expect(p, 0);
      if (advice === 'free') this.#expect(p, (this.expected(p) | STAMP_LAZY_FREE) >>> 0);
    }
    return result;
  }

  /** What a page must hold (only with `verify`). */
  expected(page: number): number {
    return this.#vm.core.x.verifyGet(this.#vm.data.base + page) >>> 0;
  }

  /** mprotect() of a range. */
  mprotect(page: number, count: number, rights: 'none' | 'r' | 'rw'): void {
    const range = this.#clip(page, count);
    const prot = { read: rights !== 'none', write: rights === 'rw' };
    this.#vm.mm.mprotect(this.#hvn(range.page), range.count, prot);
  }

  /** munmap() of a range, and in its place fresh anonymous memory, or the same pages of the file. */
  remapFresh(page: number, count: number): void {
    const range = this.#clip(page, count);
    const { mm } = this.#vm;
    const hvn = this.#hvn(range.page);
    const file = mm.fileOf(hvn);
    const pgoff = mm.pgoffOf(hvn);
    mm.munmap(hvn, range.count);
    mm.mmap({ hvn, npages: range.count, ...(file === 0 ? {} : { file, pgoff }) });
    if (file !== 0) return;
    for (let p = range.page; p < range.page + range.count; p++) this.#expect(p, 0);
  }

  /** mremap() of a range away and back again. */
  moveAndBack(page: number, count: number): void {
    const range = this.#clip(page, count);
    const { mm } = this.#vm;
    const hvn = this.#hvn(range.page);
    // A call moves what lies in one area.
    for (const { start, end } of vmasWithin(mm.vmas, hvn, hvn + range.count)) {
      const away = mm.mremap(start, end - start, this.#vm.hvnOf(0) + 2 ** 28);
      mm.mremap(away, end - start, start);
    }
  }

  /** fork() of the VMM; returns the child's number. */
  fork(): number {
    const { core, data, mm } = this.#vm;
    const expected = new Uint32Array(this.#vm.verify ? data.count : 0);
    for (let p = 0; p < expected.length; p++) {
      expected[p] = core.x.verifyGet(data.base + p);
    }
    const child = this.#nextChild++;
    this.#children.set(child, { mm: mm.fork(), expected });
    return child;
  }

  /** Children that live. */
  get children(): number[] {
    return [...this.#children.keys()];
  }

  /** Address space of a child. */
  childMm(child: number): Mm {
    return this.#child(child).mm;
  }

  #child(child: number): Child {
    const found = this.#children.get(child);
    if (!found) throw new KvmError('ENOENT', `child ${child} does not live`);
    return found;
  }

  /** A child exits. */
  reap(child: number): void {
    this.#child(child).mm.exit();
    this.#children.delete(child);
  }

  /** The VMM, or a child of it, reads a page. False: with `verify`, it holds something else. */
  read(page: number, child?: number): boolean {
    const { core, mm, data } = this.#vm;
    const space = child === undefined ? mm : this.#child(child).mm;
    const [pfn] = space.pin(this.#hvn(page), 1, false);
    if (pfn === undefined) return true;
    let ok = true;
    if (this.#vm.verify && (child === undefined || this.#shared)) {
      ok = core.x.verifyRead(data.base + page, pfn) === 1;
    } else if (this.#vm.verify && child !== undefined) {
      const want = this.#child(child).expected[page] as number;
      const found = core.x.frameContent(pfn) >>> 0;
      ok = found === (want & 0x7fffffff) >>> 0 || (want >= STAMP_LAZY_FREE && found === 0);
    }
    space.unpin([pfn], false);
    return ok;
  }

  /** The VMM, or a child of it, writes a page. False: it could not. */
  write(page: number, child?: number): boolean {
    const space = child === undefined ? this.#vm.mm : this.#child(child).mm;
    const pfns = space.pin(this.#hvn(page), 1, true);
    if (pfns.length === 0) return false;
    this.#fill(page, pfns[0] as number, child);
    space.unpin(pfns, true);
    return true;
  }

  #fill(page: number, pfn: number, child: number | undefined): void {
    const { x } = this.#vm.core;
    if (!this.#vm.verify) return;
    if (child === undefined || this.#shared) {
      x.verifyWrite(this.#vm.data.base + page, pfn);
      return;
    }
    const stamp = x.verifyStamp() >>> 0;
    x.frameSetContent(pfn, stamp);
    this.#child(child).expected[page] = stamp;
  }

  /** Direct I/O begins: pins pages for a device that will write them. */
  beginDirectIo(page: number, count: number): DirectIo {
    const range = this.#clip(page, count);
    return { page: range.page, pfns: this.#vm.mm.pin(this.#hvn(range.page), range.count, true) };
  }

  /** Direct I/O ends: the device has written the pages. */
  endDirectIo(io: DirectIo): void {
    io.pfns.forEach((pfn, i) => this.#fill(io.page + i, pfn, undefined));
    this.#vm.mm.unpin(io.pfns, true);
  }

  /** An operation of a scenario. */
  apply(operation: HostOperation): void {
    const { mm, host } = this.#vm;
    switch (operation.op) {
      case 'madvise':
        this.madvise(operation.page, operation.pages, operation.advice);
        return;
      case 'munmap':
        return this.remapFresh(operation.page, operation.pages);
      case 'mprotect':
        return this.mprotect(operation.page, operation.pages, operation.writable ? 'rw' : 'r');
      case 'mremap':
        return this.moveAndBack(operation.page, operation.pages);
      case 'fork': {
        const child = this.fork();
        if (!operation.stays) this.reap(child);
        return;
      }
      case 'read':
      case 'write':
        for (let i = 0; i < operation.pages; i++) this[operation.op](operation.page + i);
        return;
      case 'direct_io':
        return this.endDirectIo(this.beginDirectIo(operation.page, operation.pages));
      case 'reclaim':
        this.reclaim(operation.pages);
        return;
      case 'limit':
        if (operation.frames > host.frames) {
          const asked = `a limit of ${operation.frames} frames`;
          throw new DataError(`${asked}: the host has ${host.frames}`);
        }
        host.limit = operation.frames;
        this.reclaim(Math.max(0, host.charged() - operation.frames));
        return;
      case 'mark_idle':
        return this.markIdle();
      case 'numa_hint':
        // The hint pte is PROT_NONE until the next host fault puts its rights back.
        this.mprotect(operation.page, operation.pages, 'none');
        return this.mprotect(operation.page, operation.pages, 'rw');
      case 'register_notifier':
        if (!this.#notifiers.has(operation.name)) {
          this.#notifiers.set(operation.name, mm.registerNotifier({}));
        }
        return;
      case 'unregister_notifier': {
        const id = this.#notifiers.get(operation.name);
        if (id !== undefined) mm.unregisterNotifier(id);
        this.#notifiers.delete(operation.name);
      }
    }
  }

  /** The state. */
  save(): HostOpsRecord {
    return {
      children: copyOf(this.#children),
      notifiers: [...this.#notifiers],
      nextChild: this.#nextChild,
    };
  }

  /** Goes back to a saved state. */
  restore(record: HostOpsRecord): void {
    this.#children = new Map(copyOf(record.children));
    this.#notifiers = new Map(record.notifiers);
    this.#nextChild = record.nextChild;
  }

  /** Idle page tracking: every mapped page is tested for young and made old. */
  markIdle(): void {
    const { mm, host, core, data } = this.#vm;
    for (let page = 0; page < data.count; page++) {
      const pte = core.x.hpteGet(mm.id, this.#hvn(page)) >>> 0;
      const pfn = pte >>> HPTE_PFN_SHIFT;
      if ((pte & HPTE_PRESENT) === 0 || pfn === ZERO_PFN) continue;
      mm.run((t, at) => pageReferenced(t, at, host), pfn);
    }
  }

  /** memory.reclaim: frees pages now; returns how many. */
  reclaim(pages: number): number {
    return this.#vm.host.reclaim(pages);
  }
}
