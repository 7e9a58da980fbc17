// Public API of the library.
export { CoreBugError, DataError, KvmError, UsageError } from './core/errors.ts';
export { COUNTERS } from './stats/counters.ts';
export type { CounterName } from './stats/counters.ts';
