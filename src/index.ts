// Public API of the library.
export { CoreBugError, DataError, KvmError, UsageError } from './core/errors.ts';
export { COUNTERS } from './stats/counters.ts';
export type { CounterName } from './stats/counters.ts';

// The machine: a guest on KVM on a host, from options; and the host alone.
export { createVm, Vm } from './machine.ts';
export type { VmOptions } from './vm-options.ts';
export { simulate } from './simulate.ts';
export type { SimulateOptions } from './simulate.ts';
export {
  LRU_POLICY_FIRST,
  VERDICT_ACTIVATE,
  VERDICT_DEACTIVATE,
  VERDICT_KEEP,
  VERDICT_RECLAIM,
  VERDICT_ROTATE,
} from '../assembly/abi.ts';
export { AGING_PRESETS } from './mm/aging.ts';
export type { AgingPreset } from './mm/aging.ts';
export { testClearYoung } from './kvm/young-bitmap.ts';
export type { YoungPages } from './kvm/young-bitmap.ts';
export { auditHost } from './mm/audit.ts';
export { MM_GENERATIONS } from './mm/generation.ts';
export { BlockDevice, DEVICES as BLOCK_DEVICES } from './mm/swap-device.ts';
export type { DeviceProfile } from './mm/swap-device.ts';
export { ClockPolicy } from './mm/vmscan/clock.ts';
export { MglruPolicy, type MglruOptions } from './mm/vmscan/mglru.ts';
export { FifoPolicy } from './mm/vmscan/fifo.ts';
export type { ReclaimPolicy } from './mm/vmscan/policy.ts';
export type { Watermarks } from './mm/vmscan/watermarks.ts';
export { TwoListPolicy } from './mm/vmscan/two-list.ts';
export { Stats } from './stats/stats.ts';

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

// The explorer: every interleaving of a notifier protocol.
export { explore } from './explore/explore.ts';
export type { ExploredViolation, ExploreOptions, ExploreResult } from './explore/explore.ts';
export type { PctOptions, PctResult } from './explore/pct.ts';
export { PROTOCOLS as NOTIFIER_PROTOCOLS } from './explore/presets.ts';
export type { ProtocolPreset } from './explore/presets.ts';
export type { StateObject } from './explore/records.ts';
export { exploreCell } from './explore/run.ts';
export type { CellOptions, CellResult } from './explore/run.ts';
export { SCENARIOS as EXPLORE_SCENARIOS } from './explore/scenarios.ts';
export { makeScenario as makeExploreScenario } from './explore/setup.ts';
export type { Scenario as ExploreScenario, Setup as ExploreSetup } from './explore/setup.ts';
export { parseScenario as parseExploreScenario } from './explore/scenario-file.ts';
export { STANDARD_ACTORS as EXPLORE_ACTORS } from './explore/actors/all.ts';
export type { ExploredMachine } from './explore/machine.ts';
export type { SearchOptions, SearchResult } from './explore/search.ts';
export type { Story, StoryStep } from './explore/story.ts';
export { ViolationSink } from './explore/system.ts';
export type { Actor, Property, SystemDefinition } from './explore/system.ts';
export { SharedWords } from './explore/words.ts';
export {
  MACHINES as CONTENTION_MACHINES,
  XEON80,
  ALTIX4096,
} from './explore/contention/machine.ts';
export type { ContentionMachine } from './explore/contention/machine.ts';
export {
  simulate as simulateContention,
  sweep as sweepContention,
} from './explore/contention/model.ts';
export type { ContentionOptions, ContentionPoint, Scheme } from './explore/contention/model.ts';
export { loadCore } from './core/load.ts';
export type { Core, CoreBuild } from './core/load.ts';
export { Host } from './mm/host.ts';
export type { HostOptions } from './mm/host.ts';
export { IntervalNotifier } from './mm/interval-notifier.ts';
export { Mm } from './mm/mm.ts';
export type { MmuNotifierOps, MmuNotifierSteps } from './mm/notifier-ops.ts';
export { zapPageRange } from './mm/unmap.ts';
export { runStraight, Task } from './sched/task.ts';
export type { LockTable, Protocol } from './sched/task.ts';
export { compare } from './compare.ts';
export type { CompareResult } from './compare.ts';
export type { RunResult } from './result.ts';
export { PROTOCOLS } from './simulate.ts';
export { PROFILES } from './stats/profiles.ts';
