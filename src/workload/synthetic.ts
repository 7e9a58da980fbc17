// The synthetic workloads: names, parameters, and the source that draws on the core's generators
// (assembly/workload).

import {
  GEN_BASE,
  GEN_BURST,
  GEN_CODE,
  GEN_KIND,
  GEN_KIND_ACCESS_TRACKING,
  GEN_KIND_CHASE,
  GEN_KIND_CHURN,
  GEN_KIND_FORK_SERVER,
  GEN_KIND_HOT_COLD,
  GEN_KIND_SEQUENTIAL,
  GEN_KIND_SHIFTING,
  GEN_KIND_SWITCH,
  GEN_KIND_UNIFORM,
  GEN_KIND_ZIPF,
  GEN_PAGES,
  GEN_PARAMETERS,
  GEN_REFS,
  GEN_WRITE,
} from '../../assembly/abi.ts';
import { UsageError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';
import type { HostOperation } from './host-op.ts';
import type { AccessSource, Workload } from './source.ts';
import {
  type ParameterDeclaration,
  type ParameterDeclarations,
  type Spec,
  didYouMean,
  parameterValues,
} from './spec.ts';

const PAGES_MAX = 2 ** 24;
const COUNT_MAX = 2 ** 32 - 1;
/** Pages that one control record can name. */
const RANGE_MAX = 4096;
/** Fractions of 2^32. */
const ALWAYS = 0xffffffff;

const pages = (value: number, meaning: string): ParameterDeclaration => ({
  kind: 'pages',
  default: value,
  min: 1,
  max: PAGES_MAX,
  meaning,
});
const count = (value: number, meaning: string, max = COUNT_MAX): ParameterDeclaration => ({
  kind: 'count',
  default: value,
  min: 1,
  max,
  meaning,
});
const share = (value: number, meaning: string): ParameterDeclaration => ({
  kind: 'share',
  default: value,
  min: 0,
  max: 1,
  meaning,
});

/** Parameters that every synthetic workload takes. */
const COMMON = {
  pages: pages(4096, 'pages of data'),
  refs: {
    kind: 'count',
    default: 1_000_000,
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    meaning: 'data references in all',
  },
  write: share(0.3, 'share of writes'),
  burst: count(1, 'references in a row to a chosen page'),
  code: { ...count(0, 'pages of code; with some, a fetch precedes each reference', 65536), min: 0 },
} as const satisfies ParameterDeclarations;

type Values = Readonly<Record<string, number>>;

/** One kind of synthetic workload. */
export interface SyntheticDeclaration {
  readonly name: string;
  /** One line for lists. */
  readonly summary: string;
  readonly parameters: ParameterDeclarations;
  /** GEN_KIND_* of the core. */
  readonly kind: number;
  /** Parameters of the kind, in the core's order: u32, except where the kind says otherwise. */
  readonly own: readonly string[];
  /** Refuses combinations that make no sense. */
  check?(values: Values): string | undefined;
  readonly hostOps?: readonly HostOperation[];
}

/** All synthetic workloads. */
export const SYNTHETIC: readonly SyntheticDeclaration[] = [
  {
    name: 'sequential',
    summary: 'pages in order, over and over',
    kind: GEN_KIND_SEQUENTIAL,
    parameters: { ...COMMON, stride: count(1, 'pages from one reference to the next') },
    own: ['stride'],
  },
  {
    name: 'uniform',
    summary: 'any page, equally likely',
    kind: GEN_KIND_UNIFORM,
    parameters: COMMON,
    own: [],
  },
  {
    name: 'zipf',
    summary: "Zipf's law: few pages take most references",
    kind: GEN_KIND_ZIPF,
    parameters: {
      ...COMMON,
      s: { kind: 'real', default: 0.99, min: 0, max: 8, meaning: 'exponent of the law' },
    },
    own: ['s'],
  },
  {
    name: 'hot-cold',
    summary: 'a hot working set, and a scan through cold pages',
    kind: GEN_KIND_HOT_COLD,
    parameters: {
      ...COMMON,
      pages: pages(8192, 'pages of data, hot and cold'),
      hot: pages(1024, 'hot pages'),
      share: share(0.9, 'share of references to hot pages'),
    },
    own: ['hot', 'share'],
    check: ({ hot = 0, pages: all = 0 }) =>
      hot < all ? undefined : `hot=${hot} leaves no cold pages of pages=${all}`,
  },
  {
    name: 'shifting',
    summary: 'a working set that moves through memory',
    kind: GEN_KIND_SHIFTING,
    parameters: {
      ...COMMON,
      pages: pages(8192, 'pages of data'),
      window: pages(1024, 'pages of the working set'),
      period: count(50_000, 'references between two moves'),
      step: pages(256, 'pages of a move'),
    },
    own: ['window', 'period', 'step'],
    check: ({ window = 0, pages: all = 0 }) =>
      window <= all ? undefined : `window=${window} is larger than pages=${all}`,
  },
  {
    name: 'chase',
    summary: 'pointer chasing: one random cycle through all pages',
    kind: GEN_KIND_CHASE,
    parameters: { ...COMMON, write: share(0, 'share of writes') },
    own: [],
  },
  {
    name: 'fork-server',
    summary: 'a server that forks a child for each request (copy-on-write)',
    kind: GEN_KIND_FORK_SERVER,
    parameters: {
      ...COMMON,
      pages: pages(1024, "pages of the server's data"),
      child: count(400, 'references of a child'),
      parent: count(100, 'references of the server between two children'),
    },
    own: ['child', 'parent'],
  },
  {
    name: 'switch',
    summary: 'processes in turn, each with memory of its own',
    kind: GEN_KIND_SWITCH,
    parameters: {
      ...COMMON,
      pages: pages(512, 'pages of each process'),
      processes: count(4, 'processes', 1024),
      slice: count(2000, 'references of a time slice'),
    },
    own: ['processes', 'slice'],
  },
  {
    name: 'churn',
    summary: 'mmap, mprotect and munmap all the time: guest page tables are written',
    kind: GEN_KIND_CHURN,
    parameters: {
      ...COMMON,
      write: share(1, 'share of writes'),
      region: { ...pages(64, 'pages that are mapped and unmapped together'), max: RANGE_MAX },
      passes: count(3, 'passes over a region before it is unmapped'),
    },
    own: ['region', 'passes', 'regions'],
    check: ({ region = 0, pages: all = 0 }) =>
      region <= all ? undefined : `region=${region} is larger than pages=${all}`,
  },
  {
    name: 'access-tracking',
    summary: "phases of KVM's access_tracking_perf_test: populate, write, read, mark idle",
    kind: GEN_KIND_ACCESS_TRACKING,
    parameters: {
      ...COMMON,
      pages: pages(262_144, 'pages of data (1 GiB)'),
      refs: { ...COMMON.refs, default: 5 * 262_144 },
    },
    own: [],
    hostOps: [{ op: 'mark_idle' }],
  },
];

/** First data page: 256 MiB into the address space of a process. */
const DATA_BASE = 0x10000;

function shareOf(value: number): number {
  return value >= 1 ? ALWAYS : Math.floor(value * 2 ** 32);
}

class SyntheticSource implements AccessSource {
  readonly references: number | undefined;
  readonly #core: Core;
  readonly #refs: number;
  readonly #gen: number;
  #records = 0;
  #closed = false;

  constructor(core: Core, declaration: SyntheticDeclaration, values: Values, seed: number) {
    const { x, mem } = core;
    const gen = x.genNew() >>> 0;
    const own = (i: number, value: number) => mem.store32(gen + GEN_PARAMETERS + i * 4, value);
    const value = (name: string) => values[name] as number;
    this.#core = core;
    this.#gen = gen;
    this.#refs = value('refs');
    // Control records come on top, so their number is known for one process only.
    const single = declaration.kind <= GEN_KIND_CHASE;
    this.references = single ? this.#refs * (value('code') > 0 ? 2 : 1) : undefined;
    mem.store32(gen + GEN_KIND, declaration.kind);
    mem.store32(gen + GEN_PAGES, value('pages'));
    mem.store32(gen + GEN_BASE, DATA_BASE);
    mem.storeBig(gen + GEN_REFS, BigInt(this.#refs));
    mem.store32(gen + GEN_WRITE, shareOf(value('write')));
    mem.store32(gen + GEN_BURST, value('burst'));
    mem.store32(gen + GEN_CODE, value('code'));
    for (const [i, name] of declaration.own.entries()) {
      const parameter = declaration.parameters[name];
      if (name === 'regions') own(i, Math.floor(value('pages') / value('region')));
      else if (parameter?.kind === 'share') own(i, shareOf(value(name)));
      else if (parameter?.kind === 'real') this.#storeReal(gen + GEN_PARAMETERS, value(name));
      else own(i, value(name));
    }
    x.genStart(gen, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0);
  }

  next(core: Core, recordsPtr: number, maxRecords: number): number {
    if (this.#closed) return 0;
    const n = core.x.genNext(this.#gen, recordsPtr, maxRecords) >>> 0;
    this.#records += n;
    return n;
  }

  progress(): number {
    return Math.min(1, this.#records / (this.references ?? this.#refs));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#core.x.genFree(this.#gen);
  }

  #storeReal(ptr: number, value: number): void {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value, true);
    this.#core.mem.storeBig(ptr, view.getBigUint64(0, true));
  }
}

/** A synthetic workload by its spec. */
export function syntheticWorkload(spec: Spec, seed: number): Workload {
  const declaration = SYNTHETIC.find((d) => d.name === spec.name);
  if (!declaration) {
    const names = SYNTHETIC.map((d) => d.name);
    const hint = didYouMean(spec.name, names) || `; there are ${names.join(', ')}`;
    throw new UsageError(`unknown workload ${JSON.stringify(spec.name)}${hint}`);
  }
  const values = parameterValues(spec, declaration.parameters);
  const wrong = declaration.check?.(values);
  if (wrong) throw new UsageError(`workload ${spec.name}: ${wrong}`);
  return {
    name: spec.name,
    ...(declaration.hostOps ? { hostOps: declaration.hostOps } : {}),
    open: (core) => new SyntheticSource(core, declaration, values, seed),
  };
}
