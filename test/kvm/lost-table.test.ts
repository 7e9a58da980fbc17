// A guest table whose page the host can't give: KVM reads tables through the VMM's mapping, and where
// that fails the guest sees a translation that is missing (6.1, paging_tmpl.h: walk_addr_generic(),
// `goto error` after __get_user() and after update_accessed_dirty_bits()).
import { expect, test } from 'vitest';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
} from '../../assembly/abi.ts';
import { A, D, DATA, HVN, P, PT, SmallVm, U, W } from './machine.ts';

/** The access is a user's. */
const READ_FAULT = PFERR_USER_MASK;
const WRITE_FAULT = PFERR_USER_MASK | PFERR_WRITE_MASK;

function mapped(flags = P | W | U): SmallVm {
  const vm = new SmallVm('6.1', 'clear_flush_young');
  vm.map(5, DATA + 5, flags);
  return vm;
}

test('a table that is not mapped in the host any more is a guest #PF, not an error of the VMM', () => {
  const vm = mapped();
  vm.mm.munmap(HVN + PT, 1);
  expect(vm.access(5, ACCESS_READ)).toMatchObject({ kind: 'guest_page_fault', code: READ_FAULT });
  expect(vm.access(5, ACCESS_WRITE)).toMatchObject({ kind: 'guest_page_fault', code: WRITE_FAULT });
  expect(vm.audit()).toEqual([]);
});

test('a table that the host lets nobody write cannot get its A and D bits: a guest #PF', () => {
  const vm = mapped(P | W | U | A);
  vm.mm.mprotect(HVN + PT, 1, { read: true, write: false });
  expect(vm.access(5, ACCESS_READ).kind).toBe('done');
  expect(vm.access(5, ACCESS_WRITE)).toMatchObject({ kind: 'guest_page_fault', code: WRITE_FAULT });
});

test('with A and D set already, a table that is read-only in the host serves writes', () => {
  const vm = mapped(P | W | U | A | D);
  vm.mm.mprotect(HVN + PT, 1, { read: true, write: false });
  expect(vm.access(5, ACCESS_WRITE).kind).toBe('done');
});

test('a table page that the host took away is faulted in again', () => {
  const vm = mapped();
  expect(vm.access(5, ACCESS_READ).kind).toBe('done');
  vm.mm.madvise(HVN + PT, 1, 'pageout');
  vm.mm.madvise(HVN + PT, 1, 'pageout');
  vm.core.x.unmapHvaRange(vm.mm.id, HVN + DATA + 5, HVN + DATA + 6);
  vm.core.x.flushTlbs();
  expect(vm.access(5, ACCESS_READ).kind).toBe('done');
});

// 6.1 __get_user() under PROT_NONE: the processor finds no present pte, the area forbids the access.
test('a table under PROT_NONE can not be read, one that may be read again can', () => {
  const vm = mapped();
  vm.mm.mprotect(HVN + PT, 1, { read: false, write: false });
  expect(vm.access(5, ACCESS_READ)).toMatchObject({ kind: 'guest_page_fault', code: READ_FAULT });
  vm.mm.mprotect(HVN + PT, 1, { read: true, write: true });
  expect(vm.access(5, ACCESS_READ).kind).toBe('done');
  expect(vm.audit()).toEqual([]);
});
