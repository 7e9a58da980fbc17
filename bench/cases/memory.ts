// (j): linear memory for each page of the guest, as the slope between two machines, and over a long
// replay.
import { Filled } from '../lib/machine.ts';
import { alone, series } from '../lib/measure.ts';
import { Replayer } from '../lib/replayer.ts';
import type { Row } from '../lib/row.ts';
import { uniform } from '../lib/traces.ts';

const SMALL = 65_536;
const LARGE = 262_144;

function bytes(name: string, value: number, limit?: number): Row {
  const row = { letter: 'j', name, unit: 'bytes', value: series([value]) } as const;
  return limit === undefined ? row : { ...row, limit: { value: limit } };
}

/** A page that is resident: frame, host pte, spte, rmap, guest frame count, entry of a guest table. */
function resident(): Row {
  const each = (new Filled(LARGE).used - new Filled(SMALL).used) / (LARGE - SMALL);
  return bytes('resident guest page', each, 64);
}

/** Sparse guests: one page in 512 of the address space is touched, so each leaf table holds one. */
function sparse(tables: number): { readonly used: number; readonly pages: number } {
  const machine = new Filled(8, {
    guestPages: tables + 64,
    tablePages: tables + tables / 256 + 64,
  });
  const { vm } = machine;
  const record = machine.record(0);
  const before = machine.used;
  for (let i = 1; i <= tables; i++) {
    vm.core.mem.store32(record, ((i << 21) | 1) >>> 0);
    vm.core.mem.store32(record + 4, i >>> 11);
    vm.runRecords(record, 1);
  }
  return { used: machine.used - before, pages: vm.stats.get('accesses') };
}

/**
 * A page that is not resident in a leaf table that is there: an entry of the shadow table with its share
 * of the bookkeeping, and an entry of the guest's own table, which is the guest's memory.
 */
function nonResident(): Row[] {
  const few = sparse(512);
  const many = sparse(2560);
  const each = (many.used - few.used) / ((2560 - 512) * 511);
  return [
    bytes("non-resident page of a touched table, the emulator's own", each - 8, 16),
    bytes('the same with the entry of the guest table', each),
  ];
}

/** Linear memory and RSS around a replay of 100 M references in a quarter of the footprint. */
function flat(): Row[] {
  const records = uniform(2048, 1_000_000);
  const machine = new Replayer(records, 512, {});
  machine.replay();
  const top = machine.vm.core.x.memoryTop() >>> 0;
  const rss = process.memoryUsage().rss;
  const references = machine.vm.stats.get('accesses');
  machine.replay(LONG_PASSES);
  const grown = (machine.vm.core.x.memoryTop() >>> 0) - top;
  return [
    {
      letter: 'j',
      name: 'growth of linear memory over 20 M references with reclaim',
      unit: 'bytes',
      ...alone(1, () => grown),
      limit: { value: 0 },
      counts: {
        references: machine.vm.stats.get('accesses') - references,
        rss_growth_mib: Math.round((process.memoryUsage().rss - rss) / 2 ** 20),
      },
    },
  ];
}

const LONG_PASSES = 20;

/** Linear memory over 100 M references that all fit. */
function flatHits(): Row {
  const records = uniform(1024, 1_000_000);
  const machine = new Replayer(records, 1088, {});
  machine.replay();
  const top = machine.vm.core.x.memoryTop() >>> 0;
  machine.replay(100);
  return bytes(
    'growth of linear memory over 100 M references',
    (machine.vm.core.x.memoryTop() >>> 0) - top,
    0,
  );
}

/** All of them. */
export function memory(): Row[] {
  return [resident(), ...nonResident(), flatHits(), ...flat()];
}
