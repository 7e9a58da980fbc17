// Block devices behind swap and files, as queues in virtual time, and that time. A read makes its
// caller wait; a write only keeps the device busy, until the queue is so long that the writer waits
// too (cf. congestion_wait()). Requests are dealt to a device's channels in turn: the next one is the
// longest without a new request.
//
// Two devices, DEVICE_SIZE bytes each (DEVICE_*, times are f64 in ns), then the clock (CLOCK_*):
//
//   ┌ profile ─────────────────┬ state ─────────────────────────┬ channels ───────────────────┐
//   │ cost of 4 kinds, queue   │ waits, busy, head, next, counts│ when each is free, f64 each │
//   └──────────────────────────┴────────────────────────────────┴─────────────────────────────┘
//
// Invariant: nothing but reported times depends on this state, so the explorer leaves it out; only where
// kswapd reclaims ahead (which the explorer has no use for) does it decide when that may go on.

import {
  CLOCK_ACCESS_COST,
  CLOCK_GIVEN,
  CLOCK_KSWAPD,
  CLOCK_KSWAPD_UNTIL,
  CLOCK_KSWAPD_WAITED,
  CLOCK_L2_COST,
  CLOCK_NOW,
  CLOCK_SIZE,
  CLOCK_WALK_COST,
  DEVICE_BUSY,
  DEVICE_CHANNELS,
  DEVICE_CHANNELS_MAX,
  DEVICE_COUNT,
  DEVICE_FAIL_READ,
  DEVICE_FREE,
  DEVICE_HEAD,
  DEVICE_NEXT,
  DEVICE_QUEUE,
  DEVICE_READS,
  DEVICE_READ_RANDOM,
  DEVICE_READ_SEQUENTIAL,
  DEVICE_SIZE,
  DEVICE_WAITED,
  DEVICE_WRITES,
  DEVICE_WRITE_RANDOM,
  DEVICE_WRITE_SEQUENTIAL,
} from '../abi';
import { ACCESSES, TLB_L2_HITS, WALK_STEPS } from '../counters';
import { STATS } from '../stats';

const DEVICES: usize = memory.data(1280, 8);
if (DEVICE_FREE + 8 * DEVICE_CHANNELS_MAX != DEVICE_SIZE) ERROR('abi: DEVICE_SIZE');
if (DEVICE_COUNT * DEVICE_SIZE + CLOCK_SIZE != 1280) ERROR('abi: DEVICE_SIZE, CLOCK_SIZE');
/** The clock (CLOCK_*). */
export const CLOCK: usize = DEVICES + <usize>(DEVICE_COUNT * DEVICE_SIZE);

/** Address of the devices' records; the clock's follows them. */
export function devices(): u32 {
  return <u32>DEVICES;
}

function devicePtr(device: u32): usize {
  assert(device < DEVICE_COUNT, 'a device is DEVICE_SWAP or DEVICE_DISK');
  return DEVICES + <usize>(device * DEVICE_SIZE);
}

/** Queues a request of `cost` for `place`; the time at which it is done. */
function serve(dev: usize, place: u32, cost: f64): f64 {
  const channel = load<u32>(dev, DEVICE_NEXT);
  const next = channel + 1;
  store<u32>(dev, next == load<u32>(dev, DEVICE_CHANNELS) ? 0 : next, DEVICE_NEXT);
  const free = dev + ((<usize>channel) << 3);
  const done = max<f64>(load<f64>(CLOCK, CLOCK_NOW), load<f64>(free, DEVICE_FREE)) + cost;
  store<f64>(free, done, DEVICE_FREE);
  store<u32>(dev, place + 1, DEVICE_HEAD);
  store<f64>(dev, load<f64>(dev, DEVICE_BUSY) + cost, DEVICE_BUSY);
  return done;
}

/** The caller waits `ns` for a device: kswapd on its own time. */
function wait(dev: usize, ns: f64): void {
  if (load<u32>(CLOCK, CLOCK_KSWAPD) != 0) {
    const from = max<f64>(load<f64>(CLOCK, CLOCK_KSWAPD_UNTIL), load<f64>(CLOCK, CLOCK_NOW));
    if (ns > 0) store<f64>(CLOCK, from + ns, CLOCK_KSWAPD_UNTIL);
    store<f64>(CLOCK, load<f64>(CLOCK, CLOCK_KSWAPD_WAITED) + ns, CLOCK_KSWAPD_WAITED);
    return;
  }
  store<f64>(dev, load<f64>(dev, DEVICE_WAITED) + ns, DEVICE_WAITED);
  store<f64>(CLOCK, load<f64>(CLOCK, CLOCK_NOW) + ns, CLOCK_NOW);
}

/** Reads the page at `place`: the ns that its reader waited, or -1 for an I/O error. */
export function deviceRead(device: u32, place: u32): f64 {
  const dev = devicePtr(device);
  const reads = load<u32>(dev, DEVICE_READS) + 1;
  store<u32>(dev, reads, DEVICE_READS);
  const cost =
    place == load<u32>(dev, DEVICE_HEAD)
      ? load<f64>(dev, DEVICE_READ_SEQUENTIAL)
      : load<f64>(dev, DEVICE_READ_RANDOM);
  const ns = serve(dev, place, cost) - load<f64>(CLOCK, CLOCK_NOW);
  wait(dev, ns);
  const fail = load<u32>(dev, DEVICE_FAIL_READ);
  return fail != 0 && reads % fail == 0 ? -1 : ns;
}

/** Writes the page at `place`: the ns that its writer waited. */
export function deviceWrite(device: u32, place: u32): f64 {
  const dev = devicePtr(device);
  store<u32>(dev, load<u32>(dev, DEVICE_WRITES) + 1, DEVICE_WRITES);
  const cost =
    place == load<u32>(dev, DEVICE_HEAD)
      ? load<f64>(dev, DEVICE_WRITE_SEQUENTIAL)
      : load<f64>(dev, DEVICE_WRITE_RANDOM);
  const late = serve(dev, place, cost) - load<f64>(CLOCK, CLOCK_NOW);
  const ns = max<f64>(0, late - load<f64>(dev, DEVICE_QUEUE) * cost);
  wait(dev, ns);
  return ns;
}

/**
 * The devices' clock goes on by the time of the references made meanwhile. `accesses` and `l2Hits` of
 * the running batch, and `walkSteps`, are not in the counters yet.
 */
export function clockAdvance(accesses: u32, l2Hits: u32, walkSteps: u32): void {
  const ns =
    counted(ACCESSES, accesses) * load<f64>(CLOCK, CLOCK_ACCESS_COST) +
    counted(TLB_L2_HITS, l2Hits) * load<f64>(CLOCK, CLOCK_L2_COST) +
    counted(WALK_STEPS, walkSteps) * load<f64>(CLOCK, CLOCK_WALK_COST);
  const gone = ns - load<f64>(CLOCK, CLOCK_GIVEN);
  store<f64>(CLOCK, load<f64>(CLOCK, CLOCK_NOW) + gone, CLOCK_NOW);
  store<f64>(CLOCK, ns, CLOCK_GIVEN);
}

function counted(slot: u32, more: u32): f64 {
  // Counts are below 2^63, and signed ones convert in one instruction.
  return <f64>(<i64>(load<u64>(STATS + ((<usize>slot) << 3)) + <u64>more));
}
