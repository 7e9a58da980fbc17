// A storm: random guest accesses, guest kernel actions and host operations on a machine whose every
// access is checked. A step is plain data, so that a failing storm shrinks to a short list of words.

import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_INVLPG,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  KVM_MEM_LOG_DIRTY_PAGES,
} from '../../assembly/abi.ts';
import { KvmError } from '../../src/core/errors.ts';
import type { DirectIo } from '../../src/host-ops.ts';
import { auditKvmPins } from '../../src/kvm/audit.ts';
import { controlRecord } from '../../src/control-record.ts';
import type { Vm } from '../../src/machine.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { Mirror } from './mirror.ts';
import { BASE_VPN, testRandom } from './helpers.ts';

/** Guest pages that a process uses. */
export const PAGES = 64;
const PIDS = 4;
const MIRRORS = 3;
const CHILDREN = 2;
/** Slot of the guest's data. */
const DATA_SLOT = 0;

/** What a step can be, and how often. */
const WEIGHTS = {
  touch: 12,
  switch: 2,
  invlpg: 1,
  unmap: 2,
  protect_ro: 1,
  protect_rw: 1,
  guest_fork: 1,
  guest_exit: 1,
  dontneed: 1,
  free: 1,
  free_write: 1,
  cold: 1,
  pageout: 2,
  willneed: 1,
  host_ro: 1,
  host_none: 1,
  host_rw: 3,
  remap: 1,
  move: 1,
  fork: 1,
  reap: 2,
  vmm_read: 1,
  vmm_write: 1,
  child_read: 1,
  child_write: 1,
  dio_begin: 1,
  dio_end: 2,
  reclaim: 2,
  mark_idle: 1,
  limit: 1,
  slot_move: 1,
  slot_gone: 1,
  log_on: 2,
  log_off: 1,
  log_read: 2,
  register: 1,
  register_child: 1,
  mirror_fault: 4,
  unregister: 1,
} as const;

export type StepKind = keyof typeof WEIGHTS;

/** Kinds, each as often as it shall come up. */
export const STEP_KINDS: readonly StepKind[] = Object.entries(WEIGHTS).flatMap(([kind, weight]) =>
  Array.from({ length: weight }, () => kind as StepKind),
);

/** One step; `a`, `b` (below 256) and `n` choose where and how much. */
export interface Step {
  readonly kind: StepKind;
  readonly a: number;
  readonly b: number;
  readonly n: number;
}

interface ChildMirror {
  readonly child: number;
  readonly mirror: Mirror;
}

/** A storm on one machine. */
export class Storm {
  readonly vm: Vm;
  readonly #records: number;
  #mirrors: Mirror[] = [];
  #childMirrors: ChildMirror[] = [];
  #pinned: DirectIo[] = [];
  #logging = false;
  /** Data pages that the guest wrote since the dirty log was read. */
  readonly #written = new Set<number>();
  /** Guest references that were asked for. */
  references = 0;
  /** Calls that the registered notifiers saw. */
  notified = 0;

  constructor(vm: Vm) {
    this.vm = vm;
    this.#records = vm.core.x.pageAlloc() >>> 0;
  }

  #write(records: readonly (readonly [number, number])[]): void {
    const { u32 } = this.vm.core.mem;
    records.forEach(([lo, hi], i) => {
      u32[(this.#records >>> 2) + i * 2] = lo;
      u32[(this.#records >>> 2) + i * 2 + 1] = hi;
    });
    const before = this.#logging ? this.#stamps() : [];
    this.vm.runRecords(this.#records, records.length);
    if (!this.#logging) return;
    this.#stamps().forEach((stamp, page) => {
      if (stamp !== (before[page] ?? 0)) this.#written.add(page);
    });
  }

  /** What every data page that was ever in use must hold. */
  #stamps(): number[] {
    return Array.from({ length: this.vm.data.count }, (_, page) => this.vm.ops.expected(page));
  }

  /** The first reference goes to page `a`, those that follow to places that `a` and `b` seed. */
  #touch({ a, b, n }: Step): void {
    const random = testRandom(a * 65536 + b);
    const records: [number, number][] = [];
    const kinds = [ACCESS_WRITE, 0, ACCESS_WRITE, 0, ACCESS_FETCH];
    for (let i = 0; i <= n; i++) {
      const far = random() < 0.2 ? 512 * (1 + Math.floor(random() * 3)) : 0;
      const page = i === 0 ? a % PAGES : Math.floor(random() * random() * PAGES) + far;
      const kind = kinds[(i + b) % kinds.length] as number;
      records.push([(((BASE_VPN + page) << 12) | kind) >>> 0, 0]);
    }
    this.references += records.length;
    this.#write(records);
  }

  #control(op: number, operand: number, count = 1): void {
    this.#write([controlRecord(op, operand, count)]);
  }

  /** Applies a step; throws on the first thing that is wrong. */
  apply(step: Step): void {
    try {
      if (!this.#guest(step) && !this.#host(step)) this.#subsystem(step);
    } catch (error) {
      // The host is out of memory: a step that could not be done.
      if (!(error instanceof KvmError) || error.code !== 'ENOMEM') throw error;
    }
  }

  /** Steps inside the guest; false: it is none. */
  #guest(step: Step): boolean {
    const { kind, a, n } = step;
    const vpn = BASE_VPN + (a % PAGES);
    const some = 1 + (n % 16);
    switch (kind) {
      case 'touch':
        this.#touch(step);
        return true;
      case 'free_write': {
        const page = (a * 256 + step.b) % Math.max(1, this.vm.guest.data.inUse);
        this.vm.ops.madvise(page, some, 'free');
        // The same places twice: read before they are written.
        this.#touch({ ...step, n: n % 24, b: step.b | 1 });
        this.#touch({ ...step, n: n % 24 });
        this.vm.ops.reclaim(some);
        return true;
      }
      case 'switch':
        this.#control(CONTROL_SWITCH, a % PIDS);
        return true;
      case 'invlpg':
        this.#control(CONTROL_INVLPG, vpn, some);
        return true;
      case 'unmap':
        this.#control(CONTROL_UNMAP, vpn, some);
        return true;
      case 'protect_ro':
        this.#control(CONTROL_PROTECT_RO, vpn, some);
        return true;
      case 'protect_rw':
        this.#control(CONTROL_PROTECT_RW, vpn, some);
        return true;
      case 'guest_fork':
        if (!this.vm.guest.pids.includes(1 + (a % (PIDS - 1)))) {
          this.#control(CONTROL_FORK, 1 + (a % (PIDS - 1)));
        }
        return true;
      case 'guest_exit':
        this.#control(CONTROL_EXIT, 1 + (a % (PIDS - 1)));
        return true;
      default:
        return false;
    }
  }

  /** Steps of the host's mm; false: it is none. */
  #host(step: Step): boolean {
    const { kind, a, b, n } = step;
    const { ops, guest, data } = this.vm;
    const page = (a * 256 + b) % Math.max(1, guest.data.inUse);
    const children = ops.children;
    const child = children[a % Math.max(1, children.length)];
    switch (kind) {
      case 'dontneed':
      case 'free':
      case 'cold':
      case 'pageout':
      case 'willneed':
        ops.madvise(page, 1 + (n % 32), kind);
        return true;
      case 'host_ro':
        ops.mprotect(page, 1 + (n % 8), 'r');
        return true;
      case 'host_none':
        ops.mprotect(page, 1 + (n % 8), 'none');
        return true;
      case 'host_rw':
        ops.mprotect(0, data.count, 'rw');
        return true;
      case 'remap':
        ops.remapFresh(page, 1 + (n % 8));
        return true;
      case 'move':
        ops.moveAndBack(page, 1 + (n % 8));
        return true;
      case 'fork':
        // A pinned page that is shared copy-on-write has no defined owner (cf. FOLL_PIN).
        if (children.length < CHILDREN && this.#pinned.length === 0) ops.fork();
        return true;
      case 'reap':
        if (child !== undefined) this.#reap(child);
        return true;
      case 'vmm_read':
        this.#check(ops.read(page), `the VMM's read of page ${page}`);
        return true;
      case 'vmm_write':
        ops.write(page);
        return true;
      case 'child_read':
        if (child !== undefined) {
          this.#check(ops.read(page, child), `child ${child}'s read of page ${page}`);
        }
        return true;
      case 'child_write':
        if (child !== undefined) ops.write(page, child);
        return true;
      case 'dio_begin':
        if (children.length === 0) this.#pinned.push(ops.beginDirectIo(page, 1 + (n % 4)));
        return true;
      case 'dio_end':
        this.#endDirectIo();
        return true;
      case 'reclaim':
        ops.reclaim(1 + (n % 32));
        return true;
      case 'mark_idle':
        ops.markIdle();
        return true;
      case 'limit':
        ops.apply({ op: 'limit', frames: this.#someFrames(a * 256 + b) });
        return true;
      default:
        return false;
    }
  }

  /** From half of the host's frames to all of them. */
  #someFrames(choice: number): number {
    const { frames } = this.vm.host;
    return frames - (choice % Math.ceil(frames / 2));
  }

  /** Steps of KVM's slots and of other subsystems on the mm. */
  #subsystem({ kind, a, b, n }: Step): void {
    const { vm } = this;
    const hvn = vm.hvnOf(vm.data.base + ((a * 256 + b) % Math.max(1, vm.guest.data.inUse)));
    const child = vm.ops.children[a % Math.max(1, vm.ops.children.length)];
    switch (kind) {
      case 'slot_move':
        this.#setSlot(0);
        this.#setSlot(vm.data.count);
        return;
      case 'slot_gone':
        this.#setSlot(0);
        this.#touch({ kind: 'touch', a, b, n: n % 8 });
        this.#setSlot(vm.data.count);
        // The log is new, and does not know of what the guest kernel wrote meanwhile.
        this.#written.clear();
        return;
      case 'log_on':
      case 'log_off':
        this.#logging = kind === 'log_on';
        this.#written.clear();
        this.#setSlot(vm.data.count);
        return;
      case 'log_read':
        if (!this.#logging) return;
        this.#readLog();
        // Through the translations that were there: the log has to see it again.
        this.#touch({ kind: 'touch', a, b, n: n % 8 });
        this.#readLog();
        return;
      case 'register':
        if (this.#mirrors.length < MIRRORS) this.#mirrors.push(new Mirror(vm.mm));
        return;
      case 'register_child':
        if (child !== undefined && this.#childMirrors.length < MIRRORS) {
          this.#childMirrors.push({ child, mirror: new Mirror(vm.ops.childMm(child)) });
        }
        return;
      case 'mirror_fault': {
        const all = [...this.#mirrors, ...this.#childMirrors.map(({ mirror }) => mirror)];
        for (let i = 0; i <= n % 4; i++)
          all[n % Math.max(1, all.length)]?.fault(hvn + i, a % 2 < 1);
        return;
      }
      case 'unregister': {
        const mirror = this.#mirrors.shift();
        mirror?.leave();
        this.notified += mirror?.calls ?? 0;
      }
    }
  }

  /** Deletes the data slot (0 pages), makes it, or changes its flags. */
  #setSlot(npages: number): void {
    const { base, count } = this.vm.data;
    const flags = this.#logging ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    // What was written before the slot went was in a log that went with it.
    if (npages !== count) this.#written.clear();
    const hvn = this.vm.hvnOf(base);
    this.vm.kvm.setUserMemoryRegion({ slot: DATA_SLOT, gfn: base, npages, hvn, flags });
  }

  #readLog(): void {
    const logged = new Set(this.vm.kvm.getDirtyLog(DATA_SLOT));
    const lost = [...this.#written].filter((page) => !logged.has(page));
    this.#written.clear();
    if (lost.length > 0) throw new Error(`the dirty log lost the writes of pages ${lost.join()}`);
  }

  /** A child exits, and with it its mm: its notifiers hear of it once. */
  #reap(child: number): void {
    this.vm.ops.reap(child);
    for (const { mirror } of this.#childMirrors.filter((m) => m.child === child)) {
      if (mirror.released !== 1) throw new Error(`release was called ${mirror.released} times`);
    }
    this.#childMirrors = this.#childMirrors.filter((m) => m.child !== child);
  }

  /** The device has written. What it wrote to a page that was taken away meanwhile is lost. */
  #endDirectIo(): void {
    const { ops, mm, data, core } = this.vm;
    for (const { page, pfns } of this.#pinned) {
      pfns.forEach((pfn, i) => {
        const hvn = this.vm.hvnOf(data.base + page + i);
        const pte = core.x.hpteGet(mm.id, hvn) >>> 0;
        const target = pte >>> HPTE_PFN_SHIFT;
        const here =
          pte !== 0 &&
          ((pte & HPTE_PRESENT) !== 0 ? target : core.x.swapCacheLookup(target) >>> 0) === pfn;
        if (here) ops.endDirectIo({ page: page + i, pfns: [pfn] });
        else mm.unpin([pfn], true);
      });
    }
    this.#pinned = [];
  }

  #check(ok: boolean, what: string): void {
    if (!ok) throw new Error(`${what} found other bytes than were written`);
  }

  /** Audits everything; throws with the list of findings. */
  audit(): void {
    const { vm } = this;
    vm.core.x.lruAddDrain();
    const kvm = auditKvmPins(vm.kvm);
    const io = this.#pinned.reduce(
      (sum, { pfns }) => sum + pfns.filter((pfn) => pfn !== 0).length,
      0,
    );
    const host = auditHost(vm.host, kvm.pins + io);
    const mirrors = [...this.#mirrors, ...this.#childMirrors.map(({ mirror }) => mirror)];
    const findings = [
      ...kvm.problems,
      ...host.problems,
      ...mirrors.flatMap((mirror) => mirror.problems()),
    ];
    if (findings.length > 0) throw new Error(`audit: ${findings.slice(0, 5).join('; ')}`);
  }

  /** Reads every page there is, then takes the machine down: nothing is left over. */
  finish(): void {
    const { vm } = this;
    this.#endDirectIo();
    vm.ops.mprotect(0, vm.data.count, 'rw');
    vm.host.limit = vm.host.frames;
    this.audit();
    for (let page = 0; page < vm.data.count; page++) {
      this.#check(vm.ops.read(page), `the VMM's last read of page ${page}`);
    }
    this.audit();
    for (const child of vm.ops.children) this.#reap(child);
    for (const mirror of this.#mirrors) this.notified += mirror.calls;
    vm.mm.exit();
    for (const mirror of this.#mirrors) {
      if (mirror.released !== 1) throw new Error('a notifier was not released with its mm');
    }
    vm.kvm.destroy();
    vm.core.x.lruAddDrain();
    this.#reclaimOrphans();
    const { problems, framesInUse, mapped } = auditHost(vm.host, 0);
    // Pages of files stay in the page cache.
    const left = vm.backing === 'file' ? 0 : framesInUse;
    if (problems.length > 0 || left + mapped + vm.core.x.swapUsed() > 0) {
      throw new Error(
        `after exit: ${problems.join('; ')}; ${left} frames, ${mapped} mappings and ` +
          `${vm.core.x.swapUsed()} swap slots are left`,
      );
    }
  }

  /**
   * A page that reclaim gave a swap slot while a device held it, and that lost its mappings meanwhile, stays
   * in the swap cache until reclaim meets it again (as in Linux). Nothing else may be left.
   */
  #reclaimOrphans(): void {
    const { host, core } = this.vm;
    // Pages of files stay in the page cache; a device that fails now and then is asked again.
    if (this.vm.backing === 'file') return;
    for (let tries = 0; tries < 8; tries++) {
      const { framesInUse, mapped } = auditHost(host, 0);
      if (framesInUse === 0 || mapped > 0 || framesInUse !== core.x.swapUsed()) return;
      host.reclaim(framesInUse);
    }
  }
}
