// Inlines more of the release core than asc does: its limits are those for small modules. V8 keeps no register over a
// call, and a fault with its reclaim passes some thirty functions of a few instructions each.
import binaryen from 'binaryen';

/** Nodes up to which a function without loops and calls, or with one caller, goes into its callers. */
const FLEXIBLE = 60;
const ALWAYS = 20;

/** The module with more of its functions inlined. */
export function inlineCore(bytes) {
  const before = {
    debug: binaryen.getDebugInfo(),
    optimize: binaryen.getOptimizeLevel(),
    shrink: binaryen.getShrinkLevel(),
    flexible: binaryen.getFlexibleInlineMaxSize(),
    always: binaryen.getAlwaysInlineMaxSize(),
  };
  binaryen.setDebugInfo(true);
  binaryen.setOptimizeLevel(3);
  binaryen.setShrinkLevel(0);
  binaryen.setFlexibleInlineMaxSize(FLEXIBLE);
  binaryen.setAlwaysInlineMaxSize(ALWAYS);
  const core = binaryen.readBinary(bytes);
  // What asc uses; BulkMemory alone is refused.
  const { MutableGlobals, SignExt, NontrappingFPToInt, SIMD128 } = binaryen.Features;
  const { BulkMemory, BulkMemoryOpt } = binaryen.Features;
  core.setFeatures(
    MutableGlobals | SignExt | NontrappingFPToInt | SIMD128 | BulkMemory | BulkMemoryOpt,
  );
  core.runPasses(['inlining-optimizing']);
  core.optimize();
  const inlined = core.emitBinary();
  core.dispose();
  binaryen.setDebugInfo(before.debug);
  binaryen.setOptimizeLevel(before.optimize);
  binaryen.setShrinkLevel(before.shrink);
  binaryen.setFlexibleInlineMaxSize(before.flexible);
  binaryen.setAlwaysInlineMaxSize(before.always);
  return inlined;
}
