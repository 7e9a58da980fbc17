// The differential fuzzer's own checks: they pass on scripts, and they fail when something is wrong.
import { expect, test } from 'vitest';
import { DATA_HVN } from '../../src/conform/kvm/layout.ts';
import { runOnEmulator } from '../../src/conform/kvm/fuzz.ts';
import { FAMILY_NAMES, randomScript } from '../../src/conform/kvm/generate.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';
import { HPTE_PFN_SHIFT } from '../../assembly/abi.ts';

const SMALL = FAMILY_NAMES.filter((family) => family !== 'huge');

test.each(SMALL)('scripts of the family %s pass every check', (family) => {
  let loads = 0;
  for (const seed of [1, 2, 3]) {
    const script = randomScript(seed, { family, settled: true });
    const { reason, checks } = runOnEmulator(script, family !== 'tables');
    expect(reason).toBeNull();
    loads += checks;
  }
  expect(loads).toBeGreaterThan(0);
});

test('a byte that changes behind the record is found by the next load', () => {
  const lines = ['name x', 'desc x', 'pages 8', 'g write 2', 'g read 3', 'g read 2'];
  const machine = new RecordedMachine(parseScript(lines, 'x'), { npt: false, stamps: true });
  for (let i = 0; i < 3; i++) machine.next();
  const { x, mem } = machine.core;
  const pfn = (x.hpteGet(machine.mm.id, DATA_HVN + 2) >>> 0) >>> HPTE_PFN_SHIFT;
  mem.u8[x.frameContentForWrite(pfn) >>> 0] = 1;
  expect(() => machine.next()).toThrow(/found 1, not 119/);
});
