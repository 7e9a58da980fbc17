// A storm: random guest accesses, guest kernel actions and host operations on a machine whose every
// access is checked. A step is plain data, so that a failing storm shrinks to a short list of words.

import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
} from '../../assembly/abi.ts';
import type { DirectIo } from '../../src/host-ops.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { type Vm, controlRecord } from '../../src/machine.ts';
import type { MmuNotifierOps } from '../../src/mm/mmu-notifier.ts';
import { BASE_VPN, testRandom } from './helpers.ts';

/** Guest pages that a process uses. */
export const PAGES = 64;
const PIDS = 4;

/** What a step can be; `a`, `b` and `n` choose where and how much. */
export const STEP_KINDS = [
  'touch',
  'touch',
  'touch',
  'touch',
  'touch',
  'touch',
  'touch',
  'touch',
  'switch',
  'unmap',
  'protect_ro',
  'protect_rw',
  'guest_fork',
  'guest_exit',
  'dontneed',
  'free',
  'cold',
  'pageout',
  'willneed',
  'host_ro',
  'host_none',
  'host_rw',
  'host_rw',
  'remap',
  'move',
  'fork',
  'reap',
  'vmm_read',
  'vmm_write',
  'child_read',
  'child_write',
  'dio_begin',
  'dio_end',
  'reclaim',
  'register',
  'unregister',
  'clear_refs',
] as const;

/** One step. */
export interface Step {
  readonly kind: (typeof STEP_KINDS)[number];
  readonly a: number;
  readonly b: number;
  readonly n: number;
}

/** A storm on one machine. */
export class Storm {
  readonly vm: Vm;
  readonly #records: number;
  readonly #notifiers: number[] = [];
  #pinned: DirectIo[] = [];
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
    this.vm.runRecords(this.#records, records.length);
  }

  #touch({ a, b, n }: Step): void {
    const random = testRandom(a * 65536 + b);
    const records: [number, number][] = [];
    for (let i = 0; i <= n; i++) {
      const far = random() < 0.2 ? 512 * (1 + Math.floor(random() * 3)) : 0;
      const page = Math.floor(random() * random() * PAGES) + far;
      const roll = random();
      const kind = roll < 0.4 ? ACCESS_WRITE : roll < 0.5 ? ACCESS_FETCH : 0;
      records.push([(((BASE_VPN + page) << 12) | kind) >>> 0, 0]);
    }
    this.references += records.length;
    this.#write(records);
  }

  #control(op: number, operand: number, count = 1): void {
    this.#write([controlRecord(op, operand, count)]);
  }

  /** Registers a notifier that only counts. */
  #register(): void {
    const seen = (): void => {
      this.notified++;
    };
    const ops: MmuNotifierOps = {
      agePage: seen,
      invalidatePage: seen,
      invalidateRange: seen,
      invalidateRangeStart: seen,
      invalidateRangeEnd: seen,
      clearFlushYoung: () => (seen(), false),
      clearYoung: () => (seen(), false),
    };
    this.#notifiers.push(this.vm.mm.registerNotifier(ops));
  }

  /** Applies a step; throws on the first thing that is wrong. */
  apply(step: Step): void {
    const { vm } = this;
    const { a, b, n } = step;
    const page = (a * 256 + b) % Math.max(1, vm.guest.data.inUse);
    const { children } = vm.ops;
    const child = children[a % Math.max(1, children.length)];
    switch (step.kind) {
      case 'touch':
        return this.#touch(step);
      case 'switch':
        return this.#control(CONTROL_SWITCH, a % PIDS);
      case 'unmap':
        return this.#control(CONTROL_UNMAP, BASE_VPN + (a % PAGES), 1 + (n % 16));
      case 'protect_ro':
        return this.#control(CONTROL_PROTECT_RO, BASE_VPN + (a % PAGES), 1 + (n % 16));
      case 'protect_rw':
        return this.#control(CONTROL_PROTECT_RW, BASE_VPN + (a % PAGES), 1 + (n % 16));
      case 'guest_fork':
        if (!vm.guest.pids.includes(1 + (a % (PIDS - 1)))) {
          this.#control(CONTROL_FORK, 1 + (a % (PIDS - 1)));
        }
        return;
      case 'guest_exit':
        return this.#control(CONTROL_EXIT, 1 + (a % (PIDS - 1)));
      case 'dontneed':
      case 'free':
      case 'cold':
      case 'pageout':
      case 'willneed':
        // The kernel refuses none of these while pages are pinned; a lost write would be the device's.
        if (this.#pinned.length === 0) vm.ops.madvise(page, 1 + (n % 32), step.kind);
        return;
      case 'host_ro':
        return vm.ops.mprotect(page, 1 + (n % 8), 'r');
      case 'host_none':
        return vm.ops.mprotect(page, 1 + (n % 8), 'none');
      case 'host_rw':
        return vm.ops.mprotect(0, vm.data.count, 'rw');
      case 'remap':
        if (this.#pinned.length === 0) vm.ops.remapFresh(page, 1 + (n % 8));
        return;
      case 'move':
        if (this.#pinned.length === 0) vm.ops.moveAndBack(page, 1 + (n % 8));
        return;
      case 'fork':
        if (children.length < 2 && this.#pinned.length === 0) vm.ops.fork();
        return;
      case 'reap':
        if (child !== undefined) vm.ops.reap(child);
        return;
      case 'vmm_read':
        return this.#check(vm.ops.read(page), `the VMM's read of page ${page}`);
      case 'vmm_write':
        vm.ops.write(page);
        return;
      case 'child_read':
        if (child !== undefined) {
          this.#check(vm.ops.read(page, child), `child ${child}'s read of page ${page}`);
        }
        return;
      case 'child_write':
        if (child !== undefined) vm.ops.write(page, child);
        return;
      case 'dio_begin':
        if (children.length === 0) this.#pinned.push(vm.ops.beginDirectIo(page, 1 + (n % 4)));
        return;
      case 'dio_end':
        for (const io of this.#pinned) vm.ops.endDirectIo(io);
        this.#pinned = [];
        return;
      case 'reclaim':
        vm.ops.reclaim(1 + (n % 32));
        return;
      case 'register':
        if (this.#notifiers.length < 3) this.#register();
        return;
      case 'unregister': {
        const id = this.#notifiers.shift();
        if (id !== undefined) vm.mm.unregisterNotifier(id);
        return;
      }
      case 'clear_refs':
        return;
    }
  }

  #check(ok: boolean, what: string): void {
    if (!ok) throw new Error(`${what} found other bytes than were written`);
  }

  /** Audits everything; throws with the list of findings. */
  audit(): void {
    const findings = auditKvm(this.vm.kvm);
    if (findings.length > 0) throw new Error(`audit: ${findings.slice(0, 5).join('; ')}`);
  }
}
