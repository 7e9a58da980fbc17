// The host operations of workloads and scenarios (src/workload/host-op.ts) on a machine.

import { HPTE_PFN_SHIFT, HPTE_PRESENT } from '../assembly/abi.ts';
import { DataError } from './core/errors.ts';
import type { HostOperation as Operation, Vm } from './machine.ts';
import { pageReferenced } from './mm/vmscan/referenced.ts';
import type { HostOperation } from './workload/host-op.ts';

/** Notifiers that scenarios registered, by name. */
const registered = new WeakMap<Vm, Map<string, number>>();

function notifiersOf(vm: Vm): Map<string, number> {
  const known = registered.get(vm) ?? new Map<string, number>();
  registered.set(vm, known);
  return known;
}

function registerNotifier(vm: Vm, name: string): void {
  const known = notifiersOf(vm);
  if (known.has(name)) throw new DataError(`notifier ${name} is registered already`);
  // A subsystem that listens to everything and maps nothing.
  known.set(name, vm.mm.registerNotifier({ agePage: () => false, clearFlushYoung: () => false }));
}

function unregisterNotifier(vm: Vm, name: string): void {
  const id = notifiersOf(vm).get(name);
  if (id === undefined) throw new DataError(`notifier ${name} is not registered`);
  notifiersOf(vm).delete(name);
  vm.mm.unregisterNotifier(id);
}

/** Makes every resident page of the guest's data old, asking KVM as the aging protocol does. */
function markIdle(vm: Vm): void {
  const { host, mm, core, data } = vm;
  for (let page = 0; page < data.count; page++) {
    const pte = core.x.hpteGet(mm.id, vm.hvnOf(data.base + page)) >>> 0;
    if ((pte & HPTE_PRESENT) === 0) continue;
    mm.run((t, at) => pageReferenced(t, at, host), pte >>> HPTE_PFN_SHIFT);
  }
}

function setLimit(vm: Vm, frames: number): void {
  const { host } = vm;
  host.limit = frames;
  const excess = host.charged() - frames;
  if (excess > 0) vm.ops.reclaim(excess);
}

function perform(vm: Vm, operation: HostOperation): void {
  const { ops } = vm;
  switch (operation.op) {
    case 'madvise':
      ops.madvise(operation.page, operation.pages, operation.advice);
      return;
    case 'munmap':
      return ops.remapFresh(operation.page, operation.pages);
    case 'mprotect':
      return ops.mprotect(operation.page, operation.pages, operation.writable ? 'rw' : 'r');
    case 'mremap':
      return ops.moveAndBack(operation.page, operation.pages);
    case 'fork': {
      const child = ops.fork();
      if (!operation.stays) ops.reap(child);
      return;
    }
    case 'read':
    case 'write':
      for (let i = 0; i < operation.pages; i++) ops[operation.op](operation.page + i);
      return;
    case 'direct_io':
      return ops.endDirectIo(ops.beginDirectIo(operation.page, operation.pages));
    case 'reclaim':
      ops.reclaim(operation.pages);
      return;
    case 'limit':
      return setLimit(vm, operation.frames);
    case 'mark_idle':
      return markIdle(vm);
    case 'numa_hint':
      ops.mprotect(operation.page, operation.pages, 'none');
      return ops.mprotect(operation.page, operation.pages, 'rw');
    case 'register_notifier':
      return registerNotifier(vm, operation.name);
    case 'unregister_notifier':
      return unregisterNotifier(vm, operation.name);
  }
}

/** Operations for Vm.hostOperations. */
export function hostOperations(operations: readonly HostOperation[]): Operation[] {
  return operations.map((operation) => (vm: Vm) => perform(vm, operation));
}
