// Machines for the contention model: how long a cache line takes from one CPU to another.
//
// Sources of the figures:
//  [DGT13] T. David, R. Guerraoui, V. Trigonakis, "Everything you always wanted to know about
//          synchronization but were afraid to ask", SOSP 2013, latencies of an 8-socket, 80-core
//          Xeon E7-8867L at 2.13 GHz: an atomic operation on a line that another core modified
//          takes 120 cycles on the same die, 324 one hop away and 430 two hops away; a load of it
//          109, 289 and 400; an atomic on the core's own modified line about 20.
//  [SGI]   SGI, "NUMAlink interconnect fabric", sgi.com/products/servers/altix/numalink.html: a
//          round trip over a router takes 50 ns.

/** Distances between CPUs and the cost of moving a line over them, in nanoseconds. */
export interface ContentionMachine {
  readonly name: string;
  readonly says: string;
  /** Largest number of CPUs. */
  readonly cpus: number;
  /** An atomic operation on a line that this CPU has modified itself. */
  readonly ownAtomic: number;
  /** A load of a line that this CPU holds. */
  readonly hit: number;
  /** An atomic operation on a line last modified by another CPU. */
  atomic(from: number, to: number): number;
  /** A load of a line last modified by another CPU. */
  load(from: number, to: number): number;
}

const GHZ = 2.13;
const ATOMIC = [120 / GHZ, 324 / GHZ, 430 / GHZ] as const;
const LOAD = [109 / GHZ, 289 / GHZ, 400 / GHZ] as const;
const CORES_PER_DIE = 10;

/** Hops between two dies of the eight: half of them are one hop away, the others two. */
function dieHops(from: number, to: number): number {
  const a = Math.floor(from / CORES_PER_DIE);
  const b = Math.floor(to / CORES_PER_DIE);
  if (a === b) return 0;
  return ((a ^ b) & 4) === 0 ? 1 : 2;
}

/** The 80-core Xeon of [DGT13]. */
export const XEON80: ContentionMachine = {
  name: 'xeon80',
  says: '8 sockets of 10 cores, 2.13 GHz (David et al., SOSP 2013)',
  cpus: 80,
  ownAtomic: 20 / GHZ,
  hit: 5 / GHZ,
  atomic: (from, to) => ATOMIC[dieHops(from, to)] as number,
  load: (from, to) => LOAD[dieHops(from, to)] as number,
};

const CPUS_PER_BLADE = 4;
const ROUTER_NS = 50;
const RADIX = 8;

/** Routers on the way between two blades of a fat tree of 8-port routers. */
function routers(from: number, to: number): number {
  let a = Math.floor(from / CPUS_PER_BLADE);
  let b = Math.floor(to / CPUS_PER_BLADE);
  let count = 0;
  while (a !== b) {
    a = Math.floor(a / RADIX);
    b = Math.floor(b / RADIX);
    count += count === 0 ? 1 : 2;
  }
  return count;
}

/**
 * A large single-system-image machine of the time (SGI Altix): blades of four cores, the line moves
 * as between dies of [DGT13] and crosses routers at 50 ns each [SGI].
 */
export const ALTIX4096: ContentionMachine = {
  name: 'altix4096',
  says: 'blades of 4 cores on a fat tree of 8-port NUMAlink routers, 50 ns a router (SGI)',
  cpus: 4096,
  ownAtomic: 20 / GHZ,
  hit: 5 / GHZ,
  atomic: (from, to) => {
    const hops = routers(from, to);
    return hops === 0 ? (ATOMIC[0] as number) : (ATOMIC[1] as number) + hops * ROUTER_NS;
  },
  load: (from, to) => {
    const hops = routers(from, to);
    return hops === 0 ? (LOAD[0] as number) : (LOAD[1] as number) + hops * ROUTER_NS;
  },
};

/** The machines by name. */
export const MACHINES: readonly ContentionMachine[] = [XEON80, ALTIX4096];
