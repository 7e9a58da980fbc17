#!/usr/bin/env node
// Entry of the command line.
import { COUNTERS } from '../stats/counters.ts';

console.log(`${COUNTERS.length} counters`);
