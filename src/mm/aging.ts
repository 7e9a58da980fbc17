// The aging protocols: how reclaim learns that a guest used a page, and what asking costs the guest.
// Each is data. The host's side (which notifier op page_referenced calls, when, and whether the answer
// counts) is read by src/mm/vmscan; KVM's side (what becomes of the sptes) by src/kvm.

/** Which notifier op an aging test calls. */
export type AgingOp = 'none' | 'age_page' | 'clear_flush_young' | 'clear_young';

/** Where the notifier hooks sit: see `MmuNotifierOps`. */
export type NotifierHooks = 'none' | 'v3' | '2.6.27' | '6.x';

/** What KVM does to the sptes of a page that is made old. */
export type SpteMkold =
  /** Nothing: the op does not exist. */
  | 'none'
  /** Drop the sptes and flush: the next access is a minor fault. */
  | 'drop'
  /** Clear the accessed bit in place. */
  | 'clear'
  /** Make the spte non-present but keep its permissions; the next access restores it without a lock. */
  | 'access-track';

/** One aging protocol. */
export interface AgingPreset {
  readonly name: string;
  /** When and where it was posted or merged. */
  readonly source: string;
  /** One sentence: what young information the host sees. */
  readonly meaning: string;
  readonly hooks: NotifierHooks;
  readonly op: AgingOp;
  /** The op is called only when the host pte was young (v3), or at every test. */
  readonly askOnlyYoung: boolean;
  /** The op's answer is or-ed into young. */
  readonly answerCounts: boolean;
  /** What get_user_pages with FOLL_TOUCH does to the page. */
  readonly touch: 'mark_page_accessed' | 'pte-young';
  /** KVM's side. */
  readonly kvm: {
    readonly mkold: SpteMkold;
    /** Remote TLB flush after a young bit was cleared. */
    readonly flush: boolean;
    /** Each spte holds a reference on its page (KVM until 2.6.27's range notifiers made it moot). */
    readonly pinsPages: boolean;
    /** Sptes can be dropped by the host at all; without it a mapped page is pinned for good. */
    readonly notifiers: boolean;
    /** spte-lru: a shrinker drops the least recently installed spte per this many reclaimed pages. */
    readonly shrinkEvery: number;
  };
}

const KVM_2008 = { mkold: 'none', flush: false, pinsPages: true, notifiers: true, shrinkEvery: 0 };

/** All presets by name. */
export const AGING_PRESETS = {
  none: {
    name: 'none',
    source: 'CONFIG_MMU_NOTIFIER=n in the v3 patch, 20080121125204.GJ6970@v2.random',
    meaning: 'notifiers compiled out: no hook, no op; KVM pins what it maps',
    hooks: 'none',
    op: 'none',
    askOnlyYoung: true,
    answerCounts: false,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'none', notifiers: false },
  },
  pinned: {
    name: 'pinned',
    source: 'before notifiers: Izik Eidus, 478E4356.7030303@qumranet.com',
    meaning: 'sptes hold a reference on each page, so guest memory is never evicted while mapped',
    hooks: 'none',
    op: 'none',
    askOnlyYoung: true,
    answerCounts: false,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'none', notifiers: false },
  },
  v2: {
    name: 'v2',
    source: 'v2, 13 Jan 2008, 20080113162418.GE8736@v2.random',
    meaning: 'only a shadow fault marks the page accessed; a long-cached hot spte is invisible',
    hooks: 'v3',
    op: 'none',
    askOnlyYoung: true,
    answerCounts: false,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'none' },
  },
  'spte-lru': {
    name: 'spte-lru',
    source: 'proposed 17 Jan 2008, 20080117193252.GC24131@v2.random',
    meaning: 'as v2, and memory pressure drops the least recently installed sptes',
    hooks: 'v3',
    op: 'none',
    askOnlyYoung: true,
    answerCounts: false,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'none', shrinkEvery: 8 },
  },
  v3: {
    name: 'v3',
    source: 'v3, 21 Jan 2008, 20080121125204.GJ6970@v2.random',
    meaning: 'the host pte is young since the last minor fault; a young pte drops its sptes',
    hooks: 'v3',
    op: 'age_page',
    askOnlyYoung: true,
    answerCounts: false,
    touch: 'pte-young',
    kvm: { ...KVM_2008, mkold: 'drop', flush: true },
  },
  v4: {
    name: 'v4',
    source: 'v4, 22 Jan 2008, 20080122200858.GB15848@v2.random (Avi Kivity: young |= …)',
    meaning: 'every test asks the notifier, and the accessed bit of the spte counts',
    hooks: 'v3',
    op: 'age_page',
    askOnlyYoung: false,
    answerCounts: true,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'clear', flush: true },
  },
  clear_flush_young: {
    name: 'clear_flush_young',
    source: 'Linux 2.6.27, commit cddb8a5c14aa (mmu-notifiers: core)',
    meaning: 'every test clears the accessed bits of the sptes and flushes',
    hooks: '2.6.27',
    op: 'clear_flush_young',
    askOnlyYoung: false,
    answerCounts: true,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'clear', flush: true, pinsPages: false },
  },
  clear_young: {
    name: 'clear_young',
    source: 'Linux 4.3, commit 1d7715c676a1 (mmu-notifier: add clear_young callback)',
    meaning: 'as clear_flush_young without the flush: a cached translation hides later accesses',
    hooks: '6.x',
    op: 'clear_young',
    askOnlyYoung: false,
    answerCounts: true,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'clear', pinsPages: false },
  },
  'access-track': {
    name: 'access-track',
    source: 'Linux 4.11, commit f160c7b7bb32 (kvm: x86: mmu: Lockless access tracking)',
    meaning: 'no accessed bits: a tested spte becomes non-present and a fast fault restores it',
    hooks: '6.x',
    op: 'clear_flush_young',
    askOnlyYoung: false,
    answerCounts: true,
    touch: 'mark_page_accessed',
    kvm: { ...KVM_2008, mkold: 'access-track', flush: true, pinsPages: false },
  },
} as const satisfies Readonly<Record<string, AgingPreset>>;

/** Name of an aging protocol. */
export type AgingName = keyof typeof AGING_PRESETS;

/** The preset of a name, or undefined. */
export function agingPreset(name: string): AgingPreset | undefined {
  return (AGING_PRESETS as Readonly<Record<string, AgingPreset>>)[name];
}
