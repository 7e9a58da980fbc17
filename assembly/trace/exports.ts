// What the core exports of random numbers, traces and workloads.

export { rngBelow, rngPtr, rngSeed, rngU32 } from '../random';
export { traceClose, traceDecode, traceEncodeHeader, traceOpen } from './decoder';
export { traceEncode, traceEncodeEnd } from './encode';
export { pagesMap, pagesNew, pagesTables } from './pages';
export { infoFeed, infoNew, infoNextWindow } from './info';
export { replaceFeed, replaceNew } from './replace';
export { optAdd, optFeed, optNew, optScan, optSeal } from './opt';
export { genFree, genNew, genNext, genStart } from '../workload/generate';
