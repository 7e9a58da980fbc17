// The end of dirty logging under shadow paging zaps the small sptes of what both sides map large
// (6.1, mmu.c: kvm_mmu_zap_collapsible_sptes()); the recorder names the function that clears them.
import { expect, test } from 'vitest';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

test('sptes that can be mapped large are zapped by kvm_rmap_zap_collapsible_sptes', () => {
  const head = ['pages 512', 'thp on', 'pde A 0 pwuS gpa=0x10000000', 'h write 0 1 1'];
  const script = [...head, 'h dirtylog_on', 'g read 3', 'h dirtylog_off', 'g read 3'];
  const machine = new RecordedMachine(parseScript(script, 'x'), { npt: false });
  const steps: string[][] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) {
    const zaps = step.events.filter(({ t }) => t === 'spte_zap');
    steps.push(zaps.map(({ by }) => String(by)));
  }
  // The page itself and its neighbours, which direct_pte_prefetch() mapped with it.
  expect(steps[4]).toHaveLength(8);
  expect(new Set(steps[4])).toEqual(new Set(['kvm_rmap_zap_collapsible_sptes']));
});
