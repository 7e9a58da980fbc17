// Discrete-event model of many CPUs that call the notifier chain of one mm at once.
//
// Each CPU repeats: work on its own for a while (exponentially distributed), then one notifier call:
// enter the chain's read side, walk the list and run the op, leave. What differs is the protection:
//
//   rwlock    v3 as posted: read_lock and read_unlock are atomic operations on one word
//   spinlock  the walk under a ticket spinlock
//   rcu       the review's proposal: no shared write at all
//   srcu      3.7 and later (commit 21a92735f660): a counter of this CPU and a full barrier, at entry and at exit
//   mmu_lock  rcu for the chain, and the op takes the VM's one mmu_lock, a ticket spinlock
//   mmu_lock-mcs  the same with a queued spinlock (4.2 and later): a waiter spins on its own line
//
// A cache line serves one request at a time, in the order of arrival; a request takes the transfer
// time from the CPU that had the line last. A released ticket lock is re-read by all its waiters one
// after the other, and the next owner is anywhere among them (Boyd-Wickizer, Kaashoek, Morris,
// Zeldovich, "Non-scalable locks are dangerous", Linux Symposium 2012); a queued lock hands over
// with one transfer.

import type { ContentionMachine } from './machine.ts';

export type Scheme = 'rwlock' | 'spinlock' | 'rcu' | 'srcu' | 'mmu_lock' | 'mmu_lock-mcs';

/** The schemes in the order of the report. */
export const SCHEMES: readonly Scheme[] = [
  'rwlock',
  'spinlock',
  'rcu',
  'srcu',
  'mmu_lock',
  'mmu_lock-mcs',
];

/** What the CPUs do. */
export interface ContentionOptions {
  /** Mean time between two notifier calls of a CPU, ns. @default 10000 */
  readonly think?: number;
  /** Time of the walk over the list of notifiers, ns. @default 100 */
  readonly walk?: number;
  /** Time of the op: finding and dropping an spte, ns. @default 400 */
  readonly op?: number;
  /** Notifier calls to simulate in all. @default 60000 */
  readonly calls?: number;
  readonly seed?: number;
}

/** One point of the plot. */
export interface ContentionPoint {
  readonly scheme: Scheme;
  readonly cpus: number;
  /** Notifier calls a second, all CPUs together. */
  readonly callsPerSecond: number;
  /** Mean time of a call beyond the walk and the op, ns. */
  readonly overhead: number;
  /** Throughput as a share of what the CPUs would reach without any protection. */
  readonly efficiency: number;
}

/** Binary heap of (time, cpu, phase). */
class Events {
  readonly #time: number[] = [];
  readonly #what: number[] = [];

  get size(): number {
    return this.#time.length;
  }

  push(time: number, what: number): void {
    const times = this.#time;
    const whats = this.#what;
    let i = times.length;
    times.push(time);
    whats.push(what);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if ((times[up] as number) <= time) break;
      times[i] = times[up] as number;
      whats[i] = whats[up] as number;
      i = up;
    }
    times[i] = time;
    whats[i] = what;
  }

  /** Removes the earliest event: its time and what. */
  pop(): [number, number] {
    const times = this.#time;
    const whats = this.#what;
    const first: [number, number] = [times[0] as number, whats[0] as number];
    const time = times.pop() as number;
    const what = whats.pop() as number;
    const size = times.length;
    if (size === 0) return first;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= size) break;
      if (down + 1 < size && (times[down + 1] as number) < (times[down] as number)) down++;
      if ((times[down] as number) >= time) break;
      times[i] = times[down] as number;
      whats[i] = whats[down] as number;
      i = down;
    }
    times[i] = time;
    whats[i] = what;
    return first;
  }
}

/** A cache line that atomic operations pass around. */
class Line {
  owner = 0;
  freeAt = 0;

  /** Time at which the CPU's atomic operation on the line is done. */
  atomic(machine: ContentionMachine, now: number, cpu: number): number {
    const cost = this.owner === cpu ? machine.ownAtomic : machine.atomic(this.owner, cpu);
    const done = Math.max(now, this.freeAt) + cost;
    this.owner = cpu;
    this.freeAt = done;
    return done;
  }
}

/** xorshift32: deterministic and enough for arrival times. */
function random(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 4294967296;
  };
}

/** Waiters whose reads are drawn one by one; beyond it their mean stands for the rest. */
const READ_SAMPLE = 16;

const ARRIVE = 0;
const LEAVE = 1;
const UNLOCK = 2;

/** Simulates one scheme on a number of CPUs. */
export function simulate(
  machine: ContentionMachine,
  scheme: Scheme,
  cpus: number,
  options: ContentionOptions = {},
): ContentionPoint {
  const think = options.think ?? 10_000;
  const op = options.op ?? 400;
  const work = op + (options.walk ?? 100);
  const calls = Math.max(options.calls ?? 60_000, cpus * 4);
  const uniform = random((options.seed ?? 1) * 2654435761 + cpus);
  const wait = (): number => -Math.log(1 - uniform()) * think;
  const events = new Events();
  // CPUs spread over the whole machine, as threads of one process on it would be.
  const place = (cpu: number): number => Math.floor((cpu * machine.cpus) / cpus);

  const lock = new Line();
  const queue: number[] = [];
  let head = 0;
  let held = false;
  const began = new Float64Array(cpus);
  let done = 0;
  let overhead = 0;
  let now = 0;
  const spins = scheme === 'spinlock' || scheme === 'mmu_lock' || scheme === 'mmu_lock-mcs';
  // mmu_lock covers only the op; the walk before it is under RCU.
  const before = scheme === 'mmu_lock' || scheme === 'mmu_lock-mcs' ? work - op : 0;
  const hold = work - before;
  for (let cpu = 0; cpu < cpus; cpu++) events.push(wait() + before, cpu * 4 + ARRIVE);

  /** Hands a free spinlock to the next waiter. */
  const handOver = (time: number): void => {
    const cpu = queue[head++] as number;
    const waiters = queue.length - head;
    if (head > 4096) {
      queue.splice(0, head);
      head = 0;
    }
    const first = machine.load(lock.owner, place(cpu));
    // The next ticket is anywhere among those that read the word again, one after the other.
    const rank = scheme === 'mmu_lock-mcs' ? 0 : Math.floor(uniform() * (waiters + 1));
    let reads = 0;
    const sample = Math.min(rank, READ_SAMPLE);
    for (let i = 0; i < sample; i++) {
      const other = queue[head + Math.floor(uniform() * waiters)] as number;
      reads += machine.load(lock.owner, place(other));
    }
    const at = time + first + (sample === 0 ? 0 : (reads * rank) / sample);
    lock.owner = place(cpu);
    events.push(at + hold, cpu * 4 + UNLOCK);
  };

  while (done < calls) {
    const [time, what] = events.pop();
    now = time;
    const cpu = what >> 2;
    const phase = what & 3;
    if (phase === ARRIVE) {
      began[cpu] = time - before;
      if (scheme === 'rcu') events.push(time + hold + 2 * machine.hit, what - ARRIVE + LEAVE);
      else if (scheme === 'srcu') {
        events.push(time + hold + 2 * machine.ownAtomic, what - ARRIVE + LEAVE);
      } else if (scheme === 'rwlock') {
        events.push(lock.atomic(machine, time, place(cpu)) + hold, what - ARRIVE + UNLOCK);
      } else {
        queue.push(cpu);
        if (!held) {
          held = true;
          handOver(time);
        }
      }
    } else if (phase === UNLOCK && spins) {
      if (queue.length > head) handOver(time);
      else held = false;
      events.push(time + machine.ownAtomic, cpu * 4 + LEAVE);
    } else if (phase === UNLOCK) {
      events.push(lock.atomic(machine, time, place(cpu)), cpu * 4 + LEAVE);
    } else {
      done++;
      overhead += time - (began[cpu] as number) - work;
      events.push(time + wait() + before, cpu * 4 + ARRIVE);
    }
  }
  const callsPerSecond = (done / now) * 1e9;
  return {
    scheme,
    cpus,
    callsPerSecond,
    overhead: overhead / done,
    efficiency: callsPerSecond / ((cpus * 1e9) / (think + work)),
  };
}

/** All schemes on 2, 4, 8 … CPUs up to the machine's size or `limit`. */
export function sweep(
  machine: ContentionMachine,
  limit = machine.cpus,
  options: ContentionOptions = {},
): ContentionPoint[] {
  const points: ContentionPoint[] = [];
  for (const scheme of SCHEMES) {
    for (let cpus = 2; cpus <= Math.min(limit, machine.cpus); cpus *= 2) {
      points.push(simulate(machine, scheme, cpus, options));
    }
  }
  return points;
}

/** The number of CPUs from which on a scheme falls below half of the unprotected throughput. */
export function collapse(points: readonly ContentionPoint[], scheme: Scheme): number | null {
  const bad = points.find((point) => point.scheme === scheme && point.efficiency < 0.5);
  return bad === undefined ? null : bad.cpus;
}
