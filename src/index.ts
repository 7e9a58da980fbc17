// Public API of the library.
export { CoreBugError, DataError, KvmError, UsageError } from './core/errors.ts';
export { COUNTERS } from './stats/counters.ts';
export type { CounterName } from './stats/counters.ts';

// Workloads: traces, synthetic workloads, scenarios, and passes over them without an emulator.
export { footprint, missRatioCurve, streamInfo } from './workload/analyse.ts';
export type {
  MissRatioCurve,
  MrcAlgorithm,
  MrcOptions,
  MrcPoint,
  StreamInfo,
  StreamInfoOptions,
} from './workload/analyse.ts';
export { bundledTrace } from './workload/bundled.ts';
export { convert as convertTrace } from './workload/convert.ts';
export { TRACE_FORMATS, formatByName } from './workload/formats.ts';
export type { TraceFormat } from './workload/formats.ts';
export type { HostOperation as ScenarioHostOperation } from './workload/host-op.ts';
export { WORKLOAD_NAMES, openWorkload } from './workload/open.ts';
export { WORKLOAD_PRESETS } from './workload/presets.ts';
export type { PublishedFigure, WorkloadPreset } from './workload/presets.ts';
export { openScenario, parseScenario } from './workload/scenario.ts';
export type { Scenario } from './workload/scenario.ts';
export { limited as limitWorkload } from './workload/source.ts';
export type { AccessSource, Workload } from './workload/source.ts';
export { SYNTHETIC } from './workload/synthetic.ts';
export type { SyntheticDeclaration } from './workload/synthetic.ts';
export { openTrace } from './workload/trace-source.ts';
export type { TraceOptions } from './workload/trace-source.ts';
