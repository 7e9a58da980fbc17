// (k) and (l): single calls of an embedder, and the way to the first access.
import { execFileSync } from 'node:child_process';
import { Filled, repeat } from '../lib/machine.ts';
import { cpuTime, series } from '../lib/measure.ts';
import type { Row } from '../lib/row.ts';

const CALLS = 1_000_000;

/** (k): one access a call, over pages that the L1 TLB holds and over more. */
export function singleCalls(rounds: number): Row[] {
  return [64, 512].map((pages) => {
    const { vm } = new Filled(pages);
    const value = series(
      repeat(rounds, () => {
        const ns = cpuTime(() => {
          for (let i = 0; i < CALLS; i++) vm.access((i % pages) * 4096, i & 1);
        });
        return ns / CALLS;
      }),
    );
    const where = pages === 64 ? 'L1 TLB' : 'L2 TLB';
    const row = {
      letter: 'k',
      name: `one access a call, ${where} hits`,
      unit: 'ns',
      value,
    } as const;
    return pages === 64 ? { ...row, limit: { value: 40 } } : row;
  });
}

const FIRST_ACCESS = `
const { createVm } = await import(process.argv[1]);
const vm = createVm({ memoryPages: 1024, guestPages: 1024 });
if (!vm.access(4096, 1)) throw new Error('the access was refused');
console.log(performance.now());
`;

/** (l): a new process of Node until the first access is made, and a further machine in a process. */
export function startUp(rounds: number): Row[] {
  const library = new URL('./index.js', import.meta.url).href;
  const args = ['--input-type=module', '-e', FIRST_ACCESS, library];
  const process_ = repeat(rounds, () =>
    Number(execFileSync(process.execPath, args, { encoding: 'utf8' })),
  );
  const machine = repeat(rounds, () => cpuTime(() => void new Filled(1)) / 1e6);
  const common = { letter: 'l', unit: 'ms' } as const;
  return [
    {
      ...common,
      name: 'first access, from the start of the process',
      value: series(process_),
      limit: { value: 150 },
    },
    { ...common, name: 'first access on a further machine', value: series(machine) },
  ];
}
