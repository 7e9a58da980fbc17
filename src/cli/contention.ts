// `shadowmmu contention`: what the protection of the notifier chain costs on large machines.

import { parseArgs } from 'node:util';
import { UsageError } from '../core/errors.ts';
import { MACHINES } from '../explore/contention/machine.ts';
import type { ContentionMachine } from '../explore/contention/machine.ts';
import { collapse, SCHEMES, sweep } from '../explore/contention/model.ts';
import type { ContentionPoint } from '../explore/contention/model.ts';
import { plotContention } from '../explore/contention/plot.ts';
import { writeText } from '../files.ts';
import { parseCount } from '../units.ts';
import type { Command, Io } from './command.ts';
import { EXIT_STATUS } from './command.ts';

const HELP = `usage: shadowmmu contention [--machine NAME] [OPTIONS]

Simulates notifier calls of all CPUs of a machine into one mm, on 2, 4, 8 … CPUs, under a rwlock (v3 as
posted), a spinlock, RCU (the review), SRCU (today) and KVM's mmu_lock, with the cache-line transfer
times that were measured on real machines.

  --machine NAME   ${MACHINES.map((m) => m.name).join(', ')} (default altix4096)
  --cpus N         largest number of CPUs (default: the machine's)
  --think NS       mean time between two notifier calls of a CPU (default 10000)
  --walk NS        time of the walk over the list of notifiers (default 100)
  --op NS          time of the notifier op (default 400)
  --seed N         seed of the arrival times (default 1)
  --svg FILE       writes the plot
  --json           prints the points as JSON
`;

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new UsageError(`--${name} ${text}: a positive number is wanted`);
  }
  return value;
}

function machineOf(name: string): ContentionMachine {
  const machine = MACHINES.find((m) => m.name === name);
  if (machine === undefined) {
    throw new UsageError(
      `--machine ${name}: unknown; there are ${MACHINES.map((m) => m.name).join(', ')}`,
    );
  }
  return machine;
}

function amount(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)}M`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(value >= 1e4 ? 0 : 1)}k`;
  return value.toFixed(0);
}

function table(machine: ContentionMachine, points: readonly ContentionPoint[], io: Io): string {
  const cpus = [...new Set(points.map((p) => p.cpus))];
  const out = [
    io.style('bold', `notifier calls per second into one mm; ${machine.says}`),
    `${'CPUs'.padEnd(14)}${cpus.map((n) => `${n}`.padStart(7)).join('')}`,
  ];
  for (const scheme of SCHEMES) {
    const row = cpus.map((n) => {
      const point = points.find((p) => p.scheme === scheme && p.cpus === n) as ContentionPoint;
      const text = amount(point.callsPerSecond).padStart(7);
      return point.efficiency < 0.5 ? io.style('red', text) : text;
    });
    out.push(`${scheme.padEnd(14)}${row.join('')}`);
  }
  out.push('');
  for (const scheme of SCHEMES) {
    const at = collapse(points, scheme);
    const text =
      at === null
        ? 'keeps more than half of the unprotected throughput throughout'
        : `falls below half of the unprotected throughput at ${at} CPUs`;
    out.push(`${scheme.padEnd(14)} ${text}`);
  }
  return `${out.join('\n')}\n`;
}

export const command: Command = {
  summary: 'rwlock, spinlock, RCU, SRCU and mmu_lock on 2 to 4,096 CPUs',
  help: HELP,
  blocks: true,
  run(args, io) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        machine: { type: 'string', default: 'altix4096' },
        cpus: { type: 'string' },
        think: { type: 'string' },
        walk: { type: 'string' },
        op: { type: 'string' },
        seed: { type: 'string' },
        svg: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const machine = machineOf(values.machine);
    const cpus =
      values.cpus === undefined ? machine.cpus : parseCount(values.cpus, '--cpus', 2, machine.cpus);
    const points = sweep(machine, cpus, {
      think: positive('think', values.think, 10_000),
      walk: positive('walk', values.walk, 100),
      op: positive('op', values.op, 400),
      seed: positive('seed', values.seed, 1),
    });
    if (values.svg !== undefined) writeText(values.svg, plotContention(machine, points));
    if (values.json) {
      const body = { schema: 'shadowmmu-contention-1', machine: machine.name, points };
      io.out(`${JSON.stringify(body, null, 2)}\n`);
    } else io.out(table(machine, points, io));
    return EXIT_STATUS.ok;
  },
};
