// Inlines more of the release core than asc does: its limits are those for small modules. V8 keeps no register over a
// call, and a fault with its reclaim passes some thirty functions of a few instructions each.
import binaryen from 'binaryen';

/** Nodes up to which a function without loops and calls, or with one caller, goes into its callers. */
const FLEXIBLE = 60;
const ALWAYS = 20;
/** The same for a function with one caller, whatever it has in it. */
const ONE_CALLER = 200;

/**
 * Functions on the way of a TLB miss, a plain fault and its reclaim that go into their few callers whatever their
 * size.
 */
const INLINE = [
  'access_path/fillPlain',
  'access_path/serveFault',
  'access_path/walkAgainAndFill',
  'access_path/missAll',
  'access_path/walkAndFill',
  'ahead/seeGuest',
  'ahead/seeHosts',
  'ahead/seeLeaves',
  'ahead/seeList',
  'ahead/seePage',
  'ahead/seePages',
  'mm/device/deviceRead',
  'mm/device/deviceWrite',
  'mm/frame/frameAlloc',
  'mm/lru/lruRotateOldest',
  'mm/pte/ptepClearAt',
  'mmu/age/isRowOfEight',
  'mmu/fault_policy/lookUp',
  'mmu/flush/flushOne',
  'mmu/leaf_table/leafTable',
  'mmu/pfn/releasePlain',
  'mmu/quick_fault/isFixedServed',
  'mmu/settled_map/holdsNoTable',
  'mmu/settled_map/isFirstMapping',
  'mmu/settled_map/isOnlyMapping',
  'mmu/settled_map/mapFirst',
  'mmu/settled_map/writeSpte',
  'mmu/shadow_walk/plainWalk',
  'straight/evict/evictPage',
  'straight/evict/notify',
  'straight/file_fault/enterPage',
  'straight/file_fault/plainRead',
  'straight/file_fault/touchNew',
  'straight/known_fault/mapKnown',
  'straight/known_fault/touchKnown',
  'straight/known_touch/marked',
  'straight/known_touch/freshFlags',
  'straight/known_touch/freshPair',
  'straight/known_touch/slowFlagged',
  'straight/known_touch/storeMarked',
  'straight/known_page/isKnownFor',
  'straight/known_page/isKnownFrame',
  'straight/known_page/noteFrame',
  'straight/known_fault/notePresent',
  'straight/known_fault/fillKnown',
  'straight/known_fault/serveKnown',
  'access_path/missL1',
  'straight/absent_page/readKnown',
  'straight/file_fault/readAt',
  'straight/known_look/lookYoung',
  'straight/known_look/dropKnown',
  'straight/known_counts/countKnown',
  'straight/known_counts/countKnownBy',
  'straight/known_replace/isReplaceable',
  'straight/known_replace/oldestKnown',
  'straight/known_replace/move',
  'straight/known_replace/unmapReplaced',
  'straight/known_replace/readReplacing',
  'straight/file_fault/touchNew',
  'mmu/pfn/releasePlain',
  'straight/known_look/strangeness',
  'mm/lru/lruTurn',
  'tlb/known/placePage',
  'tlb/known/removePlaced',
  'tlb/sets/enterAged',
  'tlb/sets/enterFour',
  'straight/plain/askPlain',
  'straight/plain/dropPlain',
  'straight/plain/plainHead',
  'straight/plain_fault/faultIn',
  'straight/plain_fault/mapPresent',
  'straight/plain_fault/plainFault',
  'straight/absent_page/readOrGup',
  'straight/plain_rules/release',
  'straight/plain_rules/writableSlot',
  'straight/scan/evictNextPlain',
  'straight/scan/evictPlain',
  'straight/shrink/makeRoomBy',
  'tlb/flush/removePageOrdered',
  'tlb/flush/tlbFlushGva',
  'tlb/lookup/tlbFillPage',
  'tlb/lookup/tlbLookupL2',
  'tlb/sets/fillAged',
  'tlb/sets/fillOrdered',
  'tlb/sets/removeFromFour',
  'tlb/sets/removeOnceFromFour',
].map((name) => `assembly/${name}`);

/** Inlines these and no others. */
function inlineNamed(core) {
  const named = new Set(INLINE);
  for (let i = 0; i < core.getNumFunctions(); i++) {
    const { name } = binaryen.getFunctionInfo(core.getFunctionByIndex(i));
    if (named.has(name)) continue;
    binaryen.setPassArgument('no-inline', name);
    core.runPasses(['no-inline']);
  }
  binaryen.setPassArgument('no-inline', null);
  // Some have only one caller, and are in there by now.
  binaryen.setAlwaysInlineMaxSize(1_000_000);
  core.runPasses(['inlining-optimizing']);
}

/** The module with more of its functions inlined. */
export function inlineCore(bytes) {
  const before = {
    debug: binaryen.getDebugInfo(),
    optimize: binaryen.getOptimizeLevel(),
    shrink: binaryen.getShrinkLevel(),
    flexible: binaryen.getFlexibleInlineMaxSize(),
    always: binaryen.getAlwaysInlineMaxSize(),
    oneCaller: binaryen.getOneCallerInlineMaxSize(),
  };
  binaryen.setDebugInfo(true);
  binaryen.setOptimizeLevel(3);
  binaryen.setShrinkLevel(0);
  binaryen.setFlexibleInlineMaxSize(FLEXIBLE);
  binaryen.setAlwaysInlineMaxSize(ALWAYS);
  binaryen.setOneCallerInlineMaxSize(ONE_CALLER);
  const core = binaryen.readBinary(bytes);
  // What asc uses; BulkMemory alone is refused.
  const { MutableGlobals, SignExt, NontrappingFPToInt, SIMD128 } = binaryen.Features;
  const { BulkMemory, BulkMemoryOpt } = binaryen.Features;
  core.setFeatures(
    MutableGlobals | SignExt | NontrappingFPToInt | SIMD128 | BulkMemory | BulkMemoryOpt,
  );
  core.runPasses(['inlining-optimizing']);
  core.optimize();
  inlineNamed(core);
  core.optimize();
  const inlined = core.emitBinary();
  core.dispose();
  binaryen.setDebugInfo(before.debug);
  binaryen.setOptimizeLevel(before.optimize);
  binaryen.setShrinkLevel(before.shrink);
  binaryen.setFlexibleInlineMaxSize(before.flexible);
  binaryen.setAlwaysInlineMaxSize(before.always);
  binaryen.setOneCallerInlineMaxSize(before.oneCaller);
  return inlined;
}
