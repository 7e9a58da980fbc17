// Prints the declared counters.
import { COUNTERS } from 'shadowmmu';

for (const { name, unit } of COUNTERS) console.log(`${name} (${unit})`);
