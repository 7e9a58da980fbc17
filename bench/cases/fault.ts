// (e): a minor fault after the spte of a page was dropped: the vmexit, the guest walk, the lookup of
// the host page, the mapping. Its reference is the bare eviction of (d).
import { AGE_DROP } from '../../assembly/abi.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { Filled, repeat } from '../lib/machine.ts';
import { cpuTime, series } from '../lib/measure.ts';
import type { Row } from '../lib/row.ts';

const PAGES = 16_384;

/** One protocol; `eviction` is what a bare eviction costs the native reference, in ns. */
function minorFault(
  protocol: string,
  rounds: number,
  eviction: number | undefined,
  generation?: string,
): Row {
  const machine = new Filled(PAGES, {
    protocol,
    ...(generation === undefined ? {} : { generation }),
  });
  const { x } = machine.vm.core;
  const { hvn } = machine;
  const value = series(
    repeat(rounds, () => {
      x.ageHvaRange(machine.vm.mm.id, hvn, hvn + PAGES, AGE_DROP);
      x.flushTlbs();
      return cpuTime(() => machine.touch()) / PAGES;
    }),
  );
  return {
    letter: 'e',
    name: `minor fault after the spte was dropped, ${protocol}`,
    unit: 'ns',
    value,
    ...(eviction === undefined
      ? {}
      : { ratio: value.median / eviction, limit: { ratio: 2.5, value: 2.5 * 79 } }),
    ...(generation === undefined ? {} : { generation }),
  };
}

/** Every protocol with notifiers, and v3 on 6.1. */
export function minorFaults(rounds: number, eviction: number | undefined): Row[] {
  const withNotifiers = Object.values(AGING_PRESETS).filter(({ kvm }) => kvm.notifiers);
  return [
    ...withNotifiers.map(({ name }) => minorFault(name, rounds, eviction)),
    minorFault('v3', rounds, eviction, '6.1'),
  ];
}
