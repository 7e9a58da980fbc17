// The TLB of a vCPU: L1 and L2 for 4 KiB translations, one array for 2 MiB and 1 GiB ones. All are
// set-associative with exact LRU, so hit and miss counts are those of the textbook.
//
// A key holds all that a hit must compare, and the rights as *deny bits*: for each combination of
// access kind, CPL and EFLAGS.AC there is one mask (tlbMasks()), and an access hits exactly when
// ((key ^ want) & mask) == 0, where want = the page of the access | the current tag.
//
//   key  63                                           12 11 10  9  8  7  6            0
//       ┌───────────────────────────────────────────────┬──┬──┬──┬──┬──┬──────────────┐
//       │ gva 63:12                                     │NX│ND│NW│SU│NU│ tag          │
//       └───────────────────────────────────────────────┴──┴──┴──┴──┴──┴──────────────┘
//        NU: not for user accesses   SU: a user page (denied to the supervisor by SMEP and SMAP,
//        subject to protection keys)   NW: not writable   ND: not dirty yet   NX: no fetch
//        tag 0: the entry is invalid, or a global one whose space has gone
//
//   value 63         56 55  52 51                  26 25                  0
//       ┌──────────────┬──────┬──────────────────────┬──────────────────────┐
//       │ global epoch │ pkey │ index                │ pfn                  │  epoch 0: not global
//       └──────────────┴──────┴──────────────────────┴──────────────────────┘
//        index: of the gfn's words in the yardstick (lockstep.ts)
//
// A set of the L1 and of the large array keeps its ways, key and value in one v128 each, in recency
// order: the common hit, in way 0, is one load and one compare and updates nothing. A set of the L2
// keeps one age byte and one signature byte a way, then a key and a value a way.
//
// Flushing a space retires its tag; flushing all retires every tag and starts a new global epoch.
// Neither touches an entry: dead ways are purged when their set is filled next (a set remembers the
// flush count of its last purge), and before a tag is used again the whole TLB is swept.
//
// A global entry carries the tag of the space that used it last. The slow path of a lookup lets it
// match in any space while its epoch is current and retags it then.

import { TLB_MAX_WAYS, TLB_SPACES, VCPU_TLB } from '../abi';
import { arenaAlloc } from '../layout';
import { AGED_KEYS } from './sets';
import { selectSpace } from './tags';

export const TLB_NU: u64 = 0x80;
export const TLB_SU: u64 = 0x100;
export const TLB_NW: u64 = 0x200;
export const TLB_ND: u64 = 0x400;
export const TLB_NX: u64 = 0x800;
/** Tag and page: what identifies a translation. */
export const TLB_TAG_MASK: u64 = 0x7f;
export const TLB_PAGE_MASK: u64 = 0xffff_ffff_ffff_f000;
export const TLB_MATCH_MASK: u64 = TLB_PAGE_MASK | TLB_TAG_MASK;
/** In the key of a 1 GiB translation, whose low page bits are 0. */
export const LARGE_1G: u64 = 0x1000;
export const INDEX_SHIFT: u64 = 26;
/** Width of a pfn and of an index. */
export const FRAME_BITS: u64 = 0x3ff_ffff;
export const INDEX_MASK: u64 = FRAME_BITS << INDEX_SHIFT;
export const PKEY_SHIFT: u64 = 52;
export const EPOCH_SHIFT: u64 = 56;
export const EPOCH_MAX: u32 = 0xff;
/** An epoch that no entry has. */
export const EPOCH_NONE: u32 = 0x100;
/** Tags 1 .. TAGS - 1 are handed out. */
export const TAGS: u32 = 128;
export const TAG_FREE: u8 = 0;
export const TAG_LIVE: u8 = 1;
/** Retired; entries may still carry it. */
export const TAG_DEAD: u8 = 2;

// The TLB block: byte offsets.
/** Space that the current tag belongs to. */
export const TLB_SPACE: usize = 0;
export const TLB_EPOCH: usize = 4;
/** Counts flushes; a set that was purged at this count holds no dead way. */
export const TLB_FLUSH_COUNT: usize = 8;
export const TLB_NEXT_TAG: usize = 12;
/** Large entries may be live: lookups must try them. */
export const TLB_HAS_LARGE: usize = 16;
/** Three arrays: base, set mask, ways, log2 of the stride, purge counts (L1, L2, large). */
export const TLB_L1: usize = 32;
export const TLB_L2: usize = 64;
export const TLB_LARGE: usize = 96;
export const TLB_TAG_STATE: usize = 128;
export const TLB_TAG_SPACE: usize = 256;
export const TLB_SPACE_TAG: usize = 512;
const TLB_BLOCK: usize = 512 + <usize>TLB_SPACES;

if (TLB_TAG_STATE + <usize>TAGS > TLB_TAG_SPACE) ERROR('tlb: tag states overlap');

if (TLB_TAG_SPACE + 2 * <usize>TAGS > TLB_SPACE_TAG) ERROR('tlb: tag spaces overlap');

// Fields of an array descriptor.
export const ARRAY_BASE: usize = 0;
export const ARRAY_SETS: usize = 4;
export const ARRAY_WAYS: usize = 8;
/** log2 of the bytes of a set. */
export const ARRAY_SHIFT: usize = 12;
export const ARRAY_PURGED: usize = 16;
/** Offset of the last set: what a page number, shifted to it, is masked by. */
export const ARRAY_MASK: usize = 24;
/** Bytes in front of a set's keys: the ages and signatures of the L2. */
export const ARRAY_AGES: usize = 20;
/** Entries of the array for large pages: 8 sets of 4 ways. */
const LARGE_SETS: u32 = 8;
const LARGE_WAYS: u32 = 4;

function arrayInit(array: usize, sets: u32, ways: u32, ages: u32): void {
  assert(sets != 0 && (sets & (sets - 1)) == 0, 'the number of sets is a power of two');
  assert(ways != 0 && ways <= TLB_MAX_WAYS, 'a set has 1 to 16 ways');
  const bytes = ages + 16 * ways;
  const shift = 32 - clz<u32>(bytes - 1);
  store<u32>(array, <u32>arenaAlloc((<usize>sets) << (<usize>shift)), ARRAY_BASE);
  store<u32>(array, sets - 1, ARRAY_SETS);
  store<u32>(array, ways, ARRAY_WAYS);
  store<u32>(array, shift, ARRAY_SHIFT);
  store<u32>(array, <u32>arenaAlloc((<usize>sets) << 2), ARRAY_PURGED);
  store<u32>(array, ages, ARRAY_AGES);
  store<u32>(array, (sets - 1) << shift, ARRAY_MASK);
}

/** Gives a vCPU its TLB; sets are powers of two, ways 1 to TLB_MAX_WAYS. */
export function tlbInit(vcpu: usize, l1Sets: u32, l1Ways: u32, l2Sets: u32, l2Ways: u32): void {
  assert(load<u32>(vcpu, VCPU_TLB) == 0, 'tlbInit() is called once');
  const tlb = arenaAlloc(TLB_BLOCK);
  store<u32>(vcpu, <u32>tlb, VCPU_TLB);
  arrayInit(tlb + TLB_L1, l1Sets, l1Ways, 0);
  arrayInit(tlb + TLB_L2, l2Sets, l2Ways, <u32>AGED_KEYS);
  arrayInit(tlb + TLB_LARGE, LARGE_SETS, LARGE_WAYS, 0);
  const l2 = load<u32>(tlb + TLB_L2, ARRAY_BASE);
  for (let set: u32 = 0; set < l2Sets; set++) {
    const at = <usize>l2 + ((<usize>set) << load<u32>(tlb + TLB_L2, ARRAY_SHIFT));
    v128.store(at, i8x16.splat(-1));
    for (let way: u32 = 0; way < l2Ways; way++) store<u8>(at + <usize>way, <u8>way);
  }
  store<u32>(tlb + TLB_EPOCH, 1);
  store<u32>(tlb + TLB_NEXT_TAG, 1);
  selectSpace(vcpu, tlb, 0);
}

export function largeWant(want: u64, gigabyte: bool): u64 {
  const tag = want & TLB_TAG_MASK;
  return gigabyte ? (want & ~0x3fff_ffff) | LARGE_1G | tag : (want & ~0x1f_ffff) | tag;
}
