// The exports of the core, grouped by the file that owns them. The typed interface with one doc line
// each is src/core/exports.ts; a test compares the two lists.

import { ABI_VERSION } from './abi';

/** ABI version that this core was compiled with. */
export function abiVersion(): u32 {
  return ABI_VERSION;
}

export * from './trace/exports';
export { arenaAlloc, pageAlloc, pageFree, memoryTop, tablePages } from './layout';
export { statsPtr, statBump } from './stats';
export {
  lockstepAdvance,
  lockstepInit,
  lockstepTouch,
  lockstepResident,
  lockstepTested,
  lockstepEvicted,
  lockstepRefault,
  lockstepState,
} from './lockstep';
export { guestMapDrop, guestMapGet, guestMapInit, guestMapSet } from './guest_map';
export { setTracing } from './events';
export {
  contentCopy,
  contentFree,
  folioOf,
  frameAlloc,
  frameCharge,
  frameChargeTables,
  frameMarkExclusive,
  frameContent,
  frameContentForWrite,
  frameContentPtr,
  frameInit,
  framePtr,
  framesCharged,
  framesChargedPtr,
  frameSetContent,
  framesFree,
  frameTable,
  frameTotal,
  getPage,
  putPage,
} from './mm/frame';
export {
  hpmdFreeTables,
  hpmdNextPopulated,
  hpmdNone,
  hpmdTable,
  hpteFreeTables,
  hpteKeepTables,
  hpteTables,
  mmCreate,
  mmDestroy,
  mmUsed,
} from './mm/pgtable';
export { hpmdGet, hpmdSet, hpmdSplit } from './mm/pmd';
export { hpteGet, hpteNextMapped, hpteOr, hpteSet, hpteTestAndClearYoung } from './mm/pte';
export {
  collapseHugePage,
  doHugeAnonymousPage,
  hugeWpReuse,
  hugeZeroPage,
  mapHugeZeroPage,
  splitHugePage,
  splitHugePmd,
} from './mm/huge';
export {
  shmemGet,
  shmemInit,
  shmemMap,
  shmemMapAround,
  shmemSlot,
  shmemTruncate,
  shmemWillneed,
} from './mm/shmem';
export { pageMapcount, rmapAdd, rmapHvn, rmapMm, rmapMoveFirst, rmapRemove } from './mm/rmap';
export {
  holdIsolated,
  lruIsolate,
  lruIsolateTail,
  lruPutbackBatched,
  lruPutback,
  lruVerdict,
} from './mm/isolate';
export {
  lruAdd,
  lruAddTail,
  lruDel,
  lruHead,
  lruHeads,
  lruListOf,
  lruMove,
  lruNewer,
  lruSetFlags,
  lruSetMap,
  lruSize,
  lruTail,
  lruTarget,
  markPageAccessed,
  pageFlags,
} from './mm/lru';
export {
  lruAddDrain,
  lruBatchSize,
  lruCacheAdd,
  lruDrainThrough,
  lruSetBatch,
  lruSetMlockBatch,
} from './mm/lru_add';
export { vcpuInit, vcpuPtr } from './vcpu';
export { tlbInit } from './tlb/block';
export { tlbFlushAll, tlbFlushNonGlobal, tlbFlushPage, tlbFlushSpace } from './tlb/flush';
export { tlbSelect } from './tlb/tags';
export { lastWalkPfn } from './access_path';
export { accessHit, runBatch } from './run';
export { faultInstall, faultTranslate } from './mmu/page_fault';
export { filemapMap, filemapRead } from './mm/filemap_fault';
export { gupPlain } from './mm/gup';
export { clockAdvance, deviceRead, devices, deviceWrite } from './mm/device';
export { quickFaultInit } from './mmu/fault_policy';
export { straightPtr } from './straight/config';
export { straightShrink } from './straight/shrink';
export {
  checkReferences,
  twoListBegin,
  twoListDone,
  twoListInit,
  twoListJudge,
  twoListJoin,
  twoListKeep,
  twoListNext,
} from './mm/two_list';
export {
  verifyInit,
  verifyState,
  verifyGet,
  verifySet,
  verifyStamp,
  verifyRead,
  verifyWrite,
  runBatchVerified,
} from './verify';
export { guestWalk, guestWalkLost, loadPdptrs } from './mmu/guest_walk';
export { accessRow, accessRowOutcome, accessRowPfn, accessRowsWalk } from './conform/access';
export { ptepClear, wpCopyBegin, wpCopyInstall, wpReuse } from './mm/cow';
export { followPage } from './mm/follow';
export {
  doAnonymousPage,
  faultClassify,
  faultPresent,
  mapZeroPage,
  mmOut,
  setPageDirty,
  tryToFreeSwap,
  tryToFreeSwapUnmapped,
} from './mm/memory';
export { readFailed, swapinAbort, swapinBegin, swapinMap } from './mm/swapin';
export {
  swapAlloc,
  swapCacheDel,
  swapCacheLookup,
  swapClaimed,
  swapContent,
  swapCount,
  swapDuplicate,
  swapFree,
  swapInit,
  swapSetShadow,
  swapShadow,
  swapTotal,
  swapSetReturned,
  swapUsed,
} from './mm/swap';
export {
  fileContent,
  fileCreate,
  fileDestroy,
  filemapAdd,
  filemapDel,
  filemapGet,
  filemapShadow,
  fileRead,
  fileSetContent,
  fileWrite,
  pageFile,
} from './mm/filemap';
export {
  addToSwap,
  hpteYoung,
  pageout,
  pageoutFree,
  pageReferencedOne,
  reclaimNext,
  reclaimUnmap,
  removeMapping,
  tryToUnmapOne,
} from './mm/vmscan';
export {
  clearRefsRange,
  clearSoftDirtyRange,
  copyRange,
  gatherFree,
  lazyFreeOne,
  moveRange,
  protectRange,
  protectedEnd,
  zapRange,
} from './mm/range';
export { framesIdentical, frameChecksum, ksmAdopt, ksmReplace, ksmWriteProtect } from './mm/ksm';
export {
  memslotSet,
  memslotSetFlags,
  gfnToSlotId,
  gfnToHvn,
  guestPagePtr,
  guestPagePtrForWrite,
  guestPageWritten,
  slotPtr,
} from './mmu/memslot';
export {
  kvmSetAdDisabled,
  kvmPtr,
  kvmInit,
  invalidateRangeBegin,
  invalidateRangeEnd,
  invalidateRetry,
} from './mmu/kvm';
export { shadowPageInit, activeFirst, activeLast, activePrev, spTable } from './mmu/shadow_page';
export { shadowMapMmio, guestTableWrite } from './mmu/fault';
export { getRoot, rootRole } from './mmu/shadow_tables';
export { folioSetReferenced, hvaToPfnFast } from './mmu/pfn';
export { syncRoot } from './mmu/sync';
export { gfnShadowed, mmuPteWrite, mmuUnprotectPage } from './mmu/pte_write';
export { writeProtectRange } from './mmu/write_protect';
export { putRoot, zapAll, zapAllFast, commitZapPage, dropRoot } from './mmu/zap';
export { testClearYoung, youngBitmapPtr } from './mmu/young_bitmap';
export { ageAndFlush, unmapAndFlush, unmapHvaRange, ageHvaRange, flushTlbs } from './mmu/age';
export { invalidateGva } from './mmu/invlpg';
export { tdpMapMmio } from './mmu/tdp';
export { tdpAgeHvaRange, tdpUnmapHvaRange, tdpWriteProtect } from './mmu/tdp_range';
export { tdpFind, tdpGetRoot, tdpPutRoot, tdpZapAll } from './mmu/tdp_table';
export { deactivatePage, folioActivate, markPageLazyfree, munlockPage } from './mm/folio_batch';
export { mlockVmaPage, munlockIsolate, munlockPutback, munlockVmaPage } from './mm/mlock';
export { folioMarkAccessed } from './mm/mark_accessed';
export { tlbList } from './tlb/list';
export { spteLruInit, spteLruReclaimed } from './mmu/spte_lru';
export { updatePte } from './mmu/prefetch';
export { zapCollapsibleSptes } from './mmu/collapse';
export { tdpSplitHugePages, tdpZapCollapsible } from './mmu/tdp_huge';
export { workingsetSetAgesFirst, workingsetSetOutside } from './mm/workingset';
export {
  lruGenMaxSeq,
  lruGenMinSeq,
  lruGenPages,
  lruGenTier,
  lruGenTypeToScan,
} from './mm/lru_gen';
export {
  lruGenEnable,
  lruGenFoundYoung,
  lruGenIncMaxSeq,
  lruGenIncMinSeq,
  lruGenIsolate,
  lruGenIsolated,
  lruGenLookAround,
  lruGenPutback,
  lruGenTells,
  lruGenTestYoung,
  lruGenWalk,
} from './mm/lru_gen_scan';
export {
  lruCost,
  lruNoteCost,
  memcgDrainStock,
  memcgEnable,
  memcgFlush,
  memcgPerItem,
  memcgStat,
  memcgUpdated,
} from './mm/memcg';
