// A hot set and a cold scan under three protocols: pages read from swap, evictions that an exact LRU
// would not have made, and the share of wrong answers to "is this page young?".
import { openWorkload, simulate } from 'shadowmmu';

for (const protocol of ['v2', 'v3', 'v4']) {
  const workload = openWorkload('hot-cold:pages=1030,hot=100', 1);
  const { counters, accuracy } = await simulate(workload, { memory: { pages: 200 }, protocol });
  console.log(protocol, counters.swap_ins, counters.spurious_swap_outs, accuracy.error_rate);
}
