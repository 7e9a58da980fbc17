// The mails and commits that the protocols follow, and those that describe or fixed what is wrong with them.

/** A mail or commit. */
export interface Source {
  /** Short name: of a commit its id. */
  readonly label: string;
  /** What it is, in a few words. */
  readonly text: string;
  readonly url: string;
}

const LORE = 'https://lore.kernel.org/all/';
const COMMIT = 'https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/commit/?id=';

const mail = (label: string, text: string, id: string): Source => ({
  label,
  text,
  url: `${LORE}${id}/`,
});
const commit = (text: string, id: string): Source => ({ label: id, text, url: `${COMMIT}${id}` });

/** All sources by a short name. */
export const SOURCES = {
  v2: mail('v2', 'v2', '20080113162418.GE8736@v2.random'),
  forkNotHandled: mail('fork', 'fork and COW not handled yet', '20080116101939.GH7059@v2.random'),
  v3: mail('v3', 'v3', '20080121125204.GJ6970@v2.random'),
  review: mail('review', 'spinlock and RCU', '1201030127.6341.39.camel@lappy'),
  quiescent: mail('quiescent', 'free after a quiescent point', '20080122203125.GC15848@v2.random'),
  slab: mail('slab', 'type-safe slabs', 'Pine.LNX.4.64.0801222207080.27378@blonde.site'),
  knownHole: mail('v7', 'v7: the known hole', '20080216104827.GI11732@v2.random'),
  seqlock: mail('draft', 'the seqlock draft', '47C673DE.6000902@qumranet.com'),
  core: commit('2.6.27: mmu-notifiers: core', 'cddb8a5c14aa'),
  takeAllLocks: commit('2.6.27: mm_take_all_locks', '7906d00cd1f6'),
  kvm: commit('2.6.27: KVM', 'e930bffe95e1'),
  release36: commit('3.6: release before the deletion', '3ad3d901bbcf'),
  srcu: commit('3.7: SRCU', '21a92735f660'),
  release310: commit('3.10: release, once more', 'd34883d4e35c'),
  interval: commit('5.5: interval notifiers', '99cb252f5e68'),
  range: commit('5.12: retry by range', '4a42d848db95'),
  tdpMmu: commit('5.10: the TDP MMU', 'bb18842e2111'),
  tdpParallel: commit('5.12: parallel TDP faults', 'a2855afc7ee8'),
  swapPrepare: commit('6.8: race when skipping swapcache', '13ddaf26be32'),
} as const satisfies Readonly<Record<string, Source>>;

/** Where a violation of a property under a protocol in a scenario is described or was fixed. */
export function sourcesOf(preset: string, scenario: string, property: string): readonly Source[] {
  if (property === 'no_use_after_free') {
    if (preset.startsWith('v2')) return [SOURCES.v3];
    return [preset === 'v3-rcu-slab' ? SOURCES.slab : SOURCES.quiescent];
  }
  if (property === 'cow_isolation') return [SOURCES.forkNotHandled];
  if (preset === '6.1') return [SOURCES.swapPrepare];
  if (preset === '3.5') return [SOURCES.release36];
  if (preset === 'seqlock') return [SOURCES.seqlock, SOURCES.kvm];
  // The pages are free before invalidate_range is called, unregister calls no release, mprotect has no
  // hook: 2.6.27 has invalidate_range_start, release at unregister, and both around mprotect.
  const early = ['hit-zap', 'destroy', 'release', 'release-unregister', 'fault-mprotect'];
  if (early.includes(scenario)) return [SOURCES.core];
  return [SOURCES.knownHole, SOURCES.kvm];
}
