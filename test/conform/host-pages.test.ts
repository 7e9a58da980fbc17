// Snapshots of the host's pages as the recorder takes them (convert.py: a page is huge where the walk ends at a
// present entry of level 2; an entry without P and with bit 8 is `protnone`).
import { expect, test } from 'vitest';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

test('a huge page under PROT_NONE is not shown as huge, for the processor does not find it present', () => {
  const script = [
    'pages 512',
    'thp on',
    'h write 0 1 1',
    'h mprotect 0 512 none',
    'h mprotect 0 512 r',
  ];
  const machine = new RecordedMachine(parseScript(script, 'x'), { npt: false });
  const seen: unknown[] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) {
    const { pte, huge } = step.pages[7]?.host ?? {};
    seen.push([pte, huge]);
  }
  expect(seen.slice(1, 4)).toEqual([
    ['pwuadS-n', true],
    ['protnone', undefined],
    ['p-uadS-n', true],
  ]);
});
