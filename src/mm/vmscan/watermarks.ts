// Watermarks of a host's free memory (cf. init_per_zone_wmark_min and setup_per_zone_wmarks, mm/page_alloc.c;
// 2.6.24: init_per_zone_pages_min and setup_per_zone_pages_min). The host is one zone.
//
//   free > low         allocations take a page and go on
//   min < free <= low  they wake kswapd, which reclaims until free > high, and go on
//   free <= min        they reclaim themselves (direct reclaim)

import { PAGE_SIZE } from '../../../assembly/abi.ts';
import { UsageError } from '../../core/errors.ts';
import type { MmGeneration } from '../generation.ts';

const PAGE_KIB = PAGE_SIZE / 1024;
/** Least that vm.min_free_kbytes is by default. */
const LEAST_MIN_FREE_KBYTES = 128;

/** Numbers of free pages. */
export interface Watermarks {
  readonly min: number;
  readonly low: number;
  readonly high: number;
}

/** Watermarks by the generation's rules; `minFreeKbytes` as set by vm.min_free_kbytes. */
export function watermarksOf(
  generation: MmGeneration,
  frames: number,
  minFreeKbytes?: number,
): Watermarks {
  const byDefault = Math.min(
    Math.max(Math.floor(Math.sqrt(frames * PAGE_KIB * 16)), LEAST_MIN_FREE_KBYTES),
    generation.mostMinFreeKbytes,
  );
  const min = Math.floor((minFreeKbytes ?? byDefault) / PAGE_KIB);
  const scaled = Math.floor((frames * generation.watermarkScale) / 10_000);
  const low = min + Math.max(min >> 2, scaled);
  // 2.6.24 rounds a half down once, not a quarter twice.
  const high = generation.watermarkScale === 0 ? min + (min >> 1) : low + (low - min);
  if (high + 1 >= frames) {
    throw new UsageError(
      `${frames} frames are too few for watermarks of ${min}, ${low} and ${high} free ones: ` +
        'give the host more memory, or set --min-free-kbytes',
    );
  }
  return { min, low, high };
}
