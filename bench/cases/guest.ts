// (f): what the guest kernel's own work costs: a #PF, a store to a page table that is shadowed, a
// context switch.
import type { Vcpu } from '../../src/kvm/vcpu.ts';
import { Filled, repeat } from '../lib/machine.ts';
import { cpuTime, series } from '../lib/measure.ts';
import type { Row } from '../lib/row.ts';

const PAGES = 4096;
const ENTRIES = 512;
const P = 1;

function options(generation: string | undefined): { generation?: string } {
  return generation === undefined ? {} : { generation };
}

/** An access to a page that the guest has not mapped: vmexit, injection, handler, and the access. */
function guestFault(rounds: number, generation?: string): Row {
  const machine = new Filled(PAGES, options(generation));
  const vcpu = machine.vm.kvm.vcpus[0] as Vcpu;
  const value = series(
    repeat(rounds, () => {
      machine.vm.guest.unmap(vcpu, 0, PAGES);
      return cpuTime(() => machine.touch()) / PAGES;
    }),
  );
  return { letter: 'f', name: 'guest #PF round trip', unit: 'ns', value, ...options(generation) };
}

/** gfn of the leaf table of page 0. */
function leafTable(vcpu: Vcpu): number {
  let table = vcpu.cr3;
  for (let level = 4; level > 1; level--) {
    const lo = vcpu.readGuestPteLo(table, 0);
    if ((lo & P) === 0) throw new Error('page 0 is mapped');
    table = (lo >>> 12) + (vcpu.readGuestPteHi(table, 0) & 0xfffff) * 2 ** 20;
  }
  return table;
}

/** The guest stores the 512 entries of a leaf table that is shadowed, in sync and mapped. */
function pteWrites(rounds: number, generation?: string): Row {
  const machine = new Filled(PAGES, options(generation));
  const { guest } = machine.vm;
  const vcpu = machine.vm.kvm.vcpus[0] as Vcpu;
  const table = leafTable(vcpu);
  const entries = Array.from({ length: ENTRIES }, (_, i) => [
    vcpu.readGuestPteLo(table, i),
    vcpu.readGuestPteHi(table, i),
  ]) as [number, number][];
  const value = series(
    repeat(rounds, () => {
      // What is unsync is synced by the load of a root.
      guest.switchTo(vcpu, 1);
      guest.switchTo(vcpu, 0);
      machine.touch();
      return (
        cpuTime(() => {
          for (let i = 0; i < ENTRIES; i++) {
            const [lo, hi] = entries[i] as [number, number];
            vcpu.writeGuestPte(table, i, lo, hi);
          }
        }) / ENTRIES
      );
    }),
  );
  const name = 'guest pte write while shadowed';
  return { letter: 'f', name, unit: 'ns', value, ...options(generation) };
}

const SWITCHES = 2000;
const TOUCHES = 8;

/** Two processes of the guest in turn; after each switch eight pages are touched, or none. */
function switches(rounds: number, pcid: boolean, touches: number, generation?: string): Row {
  const machine = new Filled(64, { pcid, guestPages: 256, ...options(generation) });
  const { vm } = machine;
  const vcpu = vm.kvm.vcpus[0] as Vcpu;
  for (const pid of [1, 0]) {
    vm.guest.switchTo(vcpu, pid);
    vm.runRecords(machine.record(0), TOUCHES);
  }
  const value = series(
    repeat(rounds, () => {
      const ns = cpuTime(() => {
        for (let i = 1; i <= SWITCHES; i++) {
          vm.guest.switchTo(vcpu, i & 1);
          if (touches > 0) vm.runRecords(machine.record(0), touches);
        }
      });
      return ns / SWITCHES;
    }),
  );
  const what = touches > 0 ? `CR3 switch and ${touches} page touches` : 'CR3 switch';
  const name = `${what}, ${pcid ? 'with' : 'without'} PCID`;
  return { letter: 'f', name, unit: 'ns', value, ...options(generation) };
}

/** All of them, under the protocol's own generation and under 6.1. */
export function guestCosts(rounds: number): Row[] {
  return [undefined, '6.1'].flatMap((generation) => [
    guestFault(rounds, generation),
    pteWrites(rounds, generation),
    switches(rounds, true, 0, generation),
    switches(rounds, false, 0, generation),
    switches(rounds, true, TOUCHES, generation),
    switches(rounds, false, TOUCHES, generation),
  ]);
}
