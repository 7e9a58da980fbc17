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
//   value 63          48 47        36 35  32 31                          0
//       ┌───────────────┬────────────┬──────┬─────────────────────────────┐
//       │ global epoch  │ 0          │ pkey │ pfn                         │  epoch 0: not global
//       └───────────────┴────────────┴──────┴─────────────────────────────┘
//
// A set of the L1 and of the large array keeps its ways, key and value in one v128 each, in recency
// order: the common hit, in way 0, is one load and one compare and updates nothing. A set of the L2
// keeps one age byte a way, then all keys, then all values.
//
// Flushing a space retires its tag; flushing all retires every tag and starts a new global epoch.
// Neither touches an entry: dead ways are purged when their set is filled next (a set remembers the
// flush count of its last purge), and before a tag is used again the whole TLB is swept.
//
// A global entry carries the tag of the space that used it last. The slow path of a lookup lets it
// match in any space while its epoch is current and retags it then.

import {
  ACCESS_CONTROL,
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR0_WP,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  RFLAGS_AC,
  TLB_MAX_WAYS,
  TLB_SPACES,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_GUEST_WP,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_TLB,
  VCPU_TLB_TAG,
} from './abi';
import { TLB_FLUSHES } from './counters';
import { arenaAlloc } from './layout';
import { bump } from './stats';

export const TLB_NU: u64 = 0x80;
export const TLB_SU: u64 = 0x100;
export const TLB_NW: u64 = 0x200;
export const TLB_ND: u64 = 0x400;
export const TLB_NX: u64 = 0x800;
/** Tag and page: what identifies a translation. */
export const TLB_TAG_MASK: u64 = 0x7f;
export const TLB_PAGE_MASK: u64 = 0xffff_ffff_ffff_f000;
const TLB_MATCH_MASK: u64 = TLB_PAGE_MASK | TLB_TAG_MASK;
/** In the key of a 1 GiB translation, whose low page bits are 0. */
export const LARGE_1G: u64 = 0x1000;
const PKEY_SHIFT: u64 = 32;
const EPOCH_SHIFT: u64 = 48;
const EPOCH_MAX: u32 = 0xffff;
/** An epoch that no entry has. */
const EPOCH_NONE: u32 = 0x10000;

/** Tags 1 .. TAGS - 1 are handed out. */
const TAGS: u32 = 128;
const TAG_FREE: u8 = 0;
const TAG_LIVE: u8 = 1;
/** Retired; entries may still carry it. */
const TAG_DEAD: u8 = 2;

// The TLB block: byte offsets.
/** u64[16]: mask by access flags (bits 3:0 of a record). */
export const TLB_MASKS: usize = 0;
/** u64[16]: by access flags, 1 for a write, 1 << 32 for a fetch: counts of both in one add. */
export const TLB_KINDS: usize = 128;
/** Registers for which the masks were made. */
const TLB_STATE: usize = 256;
/** Space that the current tag belongs to. */
const TLB_SPACE: usize = 260;
const TLB_EPOCH: usize = 264;
/** Counts flushes; a set that was purged at this count holds no dead way. */
const TLB_FLUSH_COUNT: usize = 268;
const TLB_NEXT_TAG: usize = 272;
/** Large entries may be live: lookups must try them. */
export const TLB_HAS_LARGE: usize = 276;
/** Three arrays: base, set mask, ways, log2 of the stride, purge counts (L1, L2, large). */
export const TLB_L1: usize = 288;
export const TLB_L2: usize = 320;
export const TLB_LARGE: usize = 352;
const TLB_TAG_STATE: usize = 384;
const TLB_TAG_SPACE: usize = 512;
const TLB_SPACE_TAG: usize = 768;
const TLB_BLOCK: usize = 768 + <usize>TLB_SPACES;

if (TLB_TAG_STATE + <usize>TAGS > TLB_TAG_SPACE) ERROR('tlb: tag states overlap');
if (TLB_TAG_SPACE + 2 * <usize>TAGS > TLB_SPACE_TAG) ERROR('tlb: tag spaces overlap');

// Fields of an array descriptor.
export const ARRAY_BASE: usize = 0;
export const ARRAY_SETS: usize = 4;
export const ARRAY_WAYS: usize = 8;
/** log2 of the bytes of a set. */
export const ARRAY_SHIFT: usize = 12;
const ARRAY_PURGED: usize = 16;
/** Bytes in front of a set's keys: the age bytes of the L2. */
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
}

/** Gives a vCPU its TLB; sets are powers of two, ways 1 to TLB_MAX_WAYS. */
export function tlbInit(vcpu: usize, l1Sets: u32, l1Ways: u32, l2Sets: u32, l2Ways: u32): void {
  assert(load<u32>(vcpu, VCPU_TLB) == 0, 'tlbInit() is called once');
  const tlb = arenaAlloc(TLB_BLOCK);
  store<u32>(vcpu, <u32>tlb, VCPU_TLB);
  arrayInit(tlb + TLB_L1, l1Sets, l1Ways, 0);
  arrayInit(tlb + TLB_L2, l2Sets, l2Ways, 16);
  arrayInit(tlb + TLB_LARGE, LARGE_SETS, LARGE_WAYS, 0);
  const l2 = load<u32>(tlb + TLB_L2, ARRAY_BASE);
  for (let set: u32 = 0; set < l2Sets; set++) {
    const at = <usize>l2 + ((<usize>set) << load<u32>(tlb + TLB_L2, ARRAY_SHIFT));
    v128.store(at, i8x16.splat(-1));
    for (let way: u32 = 0; way < l2Ways; way++) store<u8>(at + <usize>way, <u8>way);
  }
  for (let flags: u32 = 0; flags < 16; flags++) {
    const kind = flags & ACCESS_KIND_MASK;
    let one: u64 = kind == ACCESS_WRITE ? 1 : 0;
    if (kind == ACCESS_FETCH) one = (<u64>1) << 32;
    store<u64>(tlb + ((<usize>flags) << 3), one, TLB_KINDS);
  }
  store<u32>(tlb + TLB_EPOCH, 1);
  store<u32>(tlb + TLB_NEXT_TAG, 1);
  store<u32>(tlb + TLB_STATE, 0xffffffff);
  selectSpace(vcpu, tlb, 0);
}

// ---- rights ----------------------------------------------------------------------------------

/** Deny bits that an access is subject to: the part of its mask below the page number. */
function denyMask(vcpu: usize, flags: u32): u64 {
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  const kind = flags & ACCESS_KIND_MASK;
  // Every key has one of the two, so a control record never hits.
  if (kind == ACCESS_CONTROL) return TLB_NU | TLB_SU;
  const user = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
  const data = kind != ACCESS_FETCH;
  let mask: u64 = user ? TLB_NU : 0;
  if (kind == ACCESS_WRITE) {
    const wp = load<u32>(vcpu, VCPU_GUEST_WP) == 0 || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
    mask |= user || wp ? TLB_NW | TLB_ND : TLB_ND;
  }
  if (!data) mask |= TLB_NX;
  if (data && (cr4 & CR4_PKE) != 0) mask |= TLB_SU;
  if (!user) {
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && (flags & ACCESS_IMPLICIT) == 0;
    if (!data && (cr4 & CR4_SMEP) != 0) mask |= TLB_SU;
    if (data && (cr4 & CR4_SMAP) != 0 && !ac) mask |= TLB_SU;
  }
  return mask;
}

/** Makes the masks current after a change of the vCPU's registers; returns the TLB block. */
export function tlbEnter(vcpu: usize): usize {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const state =
    (load<u32>(vcpu, VCPU_CR4) & (CR4_SMEP | CR4_SMAP | CR4_PKE)) |
    (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) |
    (load<u32>(vcpu, VCPU_CR0) & CR0_WP) |
    (load<u32>(vcpu, VCPU_GUEST_WP) != 0 ? 1 : 0);
  if (load<u32>(tlb + TLB_STATE) != state) {
    store<u32>(tlb + TLB_STATE, state);
    for (let flags: u32 = 0; flags < 16; flags++) {
      store<u64>(tlb + ((<usize>flags) << 3), denyMask(vcpu, flags) | TLB_MATCH_MASK, TLB_MASKS);
    }
  }
  return tlb;
}

/** Whether protection keys allow a data access to a user page (SDM vol. 3A, 4.6.2). */
function pkeyAllows(vcpu: usize, flags: u32, pkey: u32): bool {
  const rights = load<u32>(vcpu, VCPU_PKRU) >> (pkey << 1);
  if (rights & 1) return false;
  if ((flags & ACCESS_KIND_MASK) != ACCESS_WRITE || (rights & 2) == 0) return true;
  const user = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
  const wp = load<u32>(vcpu, VCPU_GUEST_WP) == 0 || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
  return !user && !wp;
}

/** Whether an entry that matches translates the access, or must be walked again. */
function entryAllows(vcpu: usize, key: u64, value: u64, flags: u32): bool {
  let deny = key & denyMask(vcpu, flags);
  if (deny == TLB_SU && load<u32>(vcpu, VCPU_CR4) & CR4_PKE) {
    // SU may stand in the mask because of the protection keys alone.
    const cr4 = load<u32>(vcpu, VCPU_CR4);
    const supervisor = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) != 0;
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && (flags & ACCESS_IMPLICIT) == 0;
    if ((flags & ACCESS_KIND_MASK) == ACCESS_FETCH) return false;
    if (supervisor && (cr4 & CR4_SMAP) != 0 && !ac) return false;
    return pkeyAllows(vcpu, flags, (<u32>(value >> PKEY_SHIFT)) & 15);
  }
  return deny == 0;
}

// ---- sets in recency order (L1, large) ---------------------------------------------------------

/** Address of the set of a page number. */
function setOf(array: usize, page: u64): usize {
  const set = (<usize>page) & (<usize>load<u32>(array, ARRAY_SETS));
  return <usize>load<u32>(array, ARRAY_BASE) + (set << (<usize>load<u32>(array, ARRAY_SHIFT)));
}

/** Whether an entry translates a page for the current space. */
function matches(tlb: usize, key: u64, value: u64, want: u64): bool {
  const diff = key ^ want;
  if ((diff & TLB_MATCH_MASK) == 0) return true;
  return (diff & TLB_PAGE_MASK) == 0 && <u32>(value >> EPOCH_SHIFT) == load<u32>(tlb + TLB_EPOCH);
}

/** Whether a way holds nothing that could ever match again. */
export function isDead(tlb: usize, key: u64, value: u64): bool {
  const tag = <usize>(key & TLB_TAG_MASK);
  if (load<u8>(tlb + TLB_TAG_STATE + tag) == TAG_LIVE) return false;
  return <u32>(value >> EPOCH_SHIFT) != load<u32>(tlb + TLB_EPOCH);
}

function removeOrdered(set: usize, ways: u32, way: u32): void {
  const last = set + ((<usize>(ways - 1)) << 4);
  for (let at = set + ((<usize>way) << 4); at < last; at += 16) v128.store(at, v128.load(at, 16));
  v128.store(last, i64x2.splat(0));
}

/** Moves the ways in front of `at` one back, over it; way 0 is then free to be stored. */
function makeRoom(set: usize, at: usize): void {
  for (; at > set; at -= 16) v128.store(at, v128.load(at - 16));
}

/** Before a set is filled: removes what died since its last purge. True when it is up to date. */
function needsPurge(tlb: usize, array: usize, page: u64): bool {
  const set = (<usize>page) & (<usize>load<u32>(array, ARRAY_SETS));
  const at = <usize>load<u32>(array, ARRAY_PURGED) + (set << 2);
  const now = load<u32>(tlb + TLB_FLUSH_COUNT);
  if (load<u32>(at) == now) return false;
  store<u32>(at, now);
  return true;
}

function purgeOrdered(tlb: usize, set: usize, ways: u32): void {
  for (let way = ways; way > 0; way--) {
    const at = set + ((<usize>(way - 1)) << 4);
    const key = load<u64>(at);
    if (key != 0 && isDead(tlb, key, load<u64>(at, 8))) removeOrdered(set, ways, way - 1);
  }
}

function fillOrdered(tlb: usize, array: usize, page: u64, key: u64, value: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (needsPurge(tlb, array, page)) purgeOrdered(tlb, set, ways);
  makeRoom(set, set + ((<usize>(ways - 1)) << 4));
  store<u64>(set, key);
  store<u64>(set, value, 8);
}

/** Result of a lookup or fill that translated an access: the pfn in bits 31:0. */
export let tlbValue: u64 = 0;
/** Result of a probe: the matching entry's key. */
let tlbKey: u64 = 0;

const PROBE_MISS: i32 = 0;
const PROBE_HIT: i32 = 1;
/** There is an entry, but it denies the access; it was removed. */
const PROBE_DENIED: i32 = 2;

function probeOrdered(
  tlb: usize,
  array: usize,
  page: u64,
  want: u64,
  vcpu: usize,
  flags: u32,
): i32 {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  for (let way: u32 = 0; way < ways; way++) {
    const at = set + ((<usize>way) << 4);
    const key = load<u64>(at);
    if (((key ^ want) & TLB_PAGE_MASK) != 0) continue;
    const value = load<u64>(at, 8);
    if (key == 0 || !matches(tlb, key, value, want)) continue;
    if (!entryAllows(vcpu, key, value, flags)) {
      removeOrdered(set, ways, way);
      return PROBE_DENIED;
    }
    tlbKey = (key & ~TLB_TAG_MASK) | (want & TLB_TAG_MASK);
    tlbValue = value;
    makeRoom(set, at);
    store<u64>(set, tlbKey);
    store<u64>(set, value, 8);
    return PROBE_HIT;
  }
  return PROBE_MISS;
}

// ---- sets with ages (L2) -----------------------------------------------------------------------

/** Makes a way the most recent: every younger way ages by one. */
function touchAged(set: usize, way: usize): void {
  const ages = v128.load(set);
  const younger = i8x16.lt_u(ages, i8x16.splat(load<i8>(set + way)));
  v128.store(set, i8x16.sub(ages, younger));
  store<u8>(set + way, 0);
}

/** Makes a way invalid and the first to be filled: every older way gets younger by one. */
function removeAged(set: usize, ways: u32, way: usize): void {
  const ages = v128.load(set);
  const older = i8x16.gt_u(ages, i8x16.splat(load<i8>(set + way)));
  const real = i8x16.lt_u(ages, i8x16.splat(<i8>ways));
  v128.store(set, i8x16.add(ages, v128.and(older, real)));
  store<u8>(set + way, <u8>(ways - 1));
  store<u64>(set + 16 + (way << 3), 0);
  store<u64>(set + 16 + ((<usize>ways + way) << 3), 0);
}

function purgeAged(tlb: usize, set: usize, ways: u32): void {
  for (let way: usize = 0; way < <usize>ways; way++) {
    const key = load<u64>(set + 16 + (way << 3));
    const value = load<u64>(set + 16 + ((<usize>ways + way) << 3));
    if (key != 0 && isDead(tlb, key, value)) removeAged(set, ways, way);
  }
}

function fillAged(tlb: usize, array: usize, page: u64, key: u64, value: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (needsPurge(tlb, array, page)) purgeAged(tlb, set, ways);
  // The ages of the ways are a permutation of 0 .. ways - 1; the bytes behind them stay 255.
  const oldest = i8x16.bitmask(i8x16.eq(v128.load(set), i8x16.splat(<i8>(ways - 1))));
  const way = <usize>ctz(oldest);
  touchAged(set, way);
  store<u64>(set + 16 + (way << 3), key);
  store<u64>(set + 16 + ((<usize>ways + way) << 3), value);
}

/** As probeOrdered(); finds the way and leaves judging to the caller. Returns the way or -1. */
function findAged(tlb: usize, set: usize, ways: u32, want: u64): i32 {
  const keys = set + 16;
  for (let way: u32 = 0; way < ways; way++) {
    const key = load<u64>(keys + ((<usize>way) << 3));
    if (((key ^ want) & TLB_PAGE_MASK) != 0 || key == 0) continue;
    if (matches(tlb, key, load<u64>(keys + ((<usize>(ways + way)) << 3)), want)) return <i32>way;
  }
  return -1;
}

function probeAged(tlb: usize, array: usize, page: u64, want: u64, vcpu: usize, flags: u32): i32 {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  const way = findAged(tlb, set, ways, want);
  if (way < 0) return PROBE_MISS;
  const at = set + 16 + ((<usize>way) << 3);
  const key = load<u64>(at);
  const value = load<u64>(at + ((<usize>ways) << 3));
  if (!entryAllows(vcpu, key, value, flags)) {
    removeAged(set, ways, <usize>way);
    return PROBE_DENIED;
  }
  tlbKey = (key & ~TLB_TAG_MASK) | (want & TLB_TAG_MASK);
  tlbValue = value;
  store<u64>(at, tlbKey);
  touchAged(set, <usize>way);
  return PROBE_HIT;
}

// ---- lookup and fill ---------------------------------------------------------------------------

/** The lookup missed: walk. */
export const TLB_MISS: i32 = 0;
/** Translated by the L1 or the large array. */
export const TLB_HIT: i32 = 1;
/** Translated by the L2 (and now in the L1). */
export const TLB_L2_HIT: i32 = 2;

function largeWant(want: u64, gigabyte: bool): u64 {
  const tag = want & TLB_TAG_MASK;
  return gigabyte ? (want & ~0x3fff_ffff) | LARGE_1G | tag : (want & ~0x1f_ffff) | tag;
}

/**
 * The L2 lookup of the fast path: an entry of the current space that allows the access. Its key and
 * value move to the L1 as well.
 */
export function tlbLookupL2(tlb: usize, want: u64, mask: u64): bool {
  const array = tlb + TLB_L2;
  const set = setOf(array, want >> 12);
  const keys = set + 16;
  const bytes = (<usize>load<u32>(array, ARRAY_WAYS)) << 3;
  const wants = i64x2.splat(want);
  const masks = i64x2.splat(mask);
  for (let at: usize = 0; at < bytes; at += 16) {
    const diff = v128.and(v128.xor(v128.load(keys + at), wants), masks);
    const equal = i64x2.bitmask(i64x2.eq(diff, i64x2.splat(0)));
    if (equal == 0) continue;
    const way = (equal & 1) != 0 ? at : at + 8;
    if (way >= bytes) return false;
    const value = load<u64>(keys + way + bytes);
    // The L1 may hold a global translation under the tag of another space: not for the fast path.
    if (value >> EPOCH_SHIFT != 0) return false;
    touchAged(set, way >> 3);
    tlbValue = value;
    fillOrdered(tlb, tlb + TLB_L1, want >> 12, load<u64>(keys + way), value);
    return true;
  }
  return false;
}

/**
 * The lookup behind the fast path, exact for every entry. An entry that denies the access is
 * removed everywhere, as a page fault and an assist to set D do, so that the walk fills afresh.
 */
export function tlbLookup(vcpu: usize, tlb: usize, want: u64, flags: u32): i32 {
  const page = want >> 12;
  const l1 = probeOrdered(tlb, tlb + TLB_L1, page, want, vcpu, flags);
  if (l1 == PROBE_HIT) return TLB_HIT;
  if (l1 == PROBE_DENIED) {
    removePage(tlb, want);
    return TLB_MISS;
  }
  const l2 = probeAged(tlb, tlb + TLB_L2, page, want, vcpu, flags);
  if (l2 == PROBE_HIT) {
    fillOrdered(tlb, tlb + TLB_L1, page, tlbKey, tlbValue);
    return TLB_L2_HIT;
  }
  if (l2 == PROBE_DENIED) {
    removePage(tlb, want);
    return TLB_MISS;
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) == 0) return TLB_MISS;
  const large = tlb + TLB_LARGE;
  const mega = probeOrdered(tlb, large, want >> 21, largeWant(want, false), vcpu, flags);
  if (mega == PROBE_HIT) {
    tlbValue += (want >> 12) & 0x1ff;
    return TLB_HIT;
  }
  if (mega == PROBE_MISS) {
    const giga = probeOrdered(tlb, large, want >> 30, largeWant(want, true), vcpu, flags);
    if (giga == PROBE_HIT) {
      tlbValue += (want >> 12) & 0x3ffff;
      return TLB_HIT;
    }
  }
  removePage(tlb, want);
  return TLB_MISS;
}

/**
 * Enters a translation. `deny` are the TLB_* deny bits of the leaf's combined rights, `level` the
 * leaf's level, `pfn` the frame of the 4 KiB page.
 */
export function tlbFill(
  vcpu: usize,
  want: u64,
  deny: u64,
  level: u32,
  pfn: u32,
  pkey: u32,
  global: bool,
): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  let value = (<u64>pfn) | ((<u64>pkey) << PKEY_SHIFT);
  if (global) value |= (<u64>load<u32>(tlb + TLB_EPOCH)) << EPOCH_SHIFT;
  tlbValue = value;
  if (level == 1) {
    const page = want >> 12;
    fillAged(tlb, tlb + TLB_L2, page, want | deny, value);
    fillOrdered(tlb, tlb + TLB_L1, page, want | deny, value);
    return;
  }
  store<u32>(tlb + TLB_HAS_LARGE, 1);
  const key = largeWant(want, level == 3) | deny;
  const inside = (want >> 12) & (level == 3 ? 0x3ffff : 0x1ff);
  fillOrdered(tlb, tlb + TLB_LARGE, want >> (level == 3 ? 30 : 21), key, value - inside);
}

// ---- flushes -----------------------------------------------------------------------------------

function removeFrom(tlb: usize, array: usize, page: u64, want: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  for (let way: u32 = 0; way < ways;) {
    const at = set + ((<usize>way) << 4);
    const key = load<u64>(at);
    if (key != 0 && matches(tlb, key, load<u64>(at, 8), want)) removeOrdered(set, ways, way);
    else way++;
  }
}

/** Removes a page of the current space (want's tag) and global translations of it. */
function removePage(tlb: usize, want: u64): void {
  removeFrom(tlb, tlb + TLB_L1, want >> 12, want);
  const l2 = tlb + TLB_L2;
  const set = setOf(l2, want >> 12);
  const ways = load<u32>(l2, ARRAY_WAYS);
  for (let way = findAged(tlb, set, ways, want); way >= 0; way = findAged(tlb, set, ways, want)) {
    removeAged(set, ways, <usize>way);
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) == 0) return;
  removeFrom(tlb, tlb + TLB_LARGE, want >> 21, largeWant(want, false));
  removeFrom(tlb, tlb + TLB_LARGE, want >> 30, largeWant(want, true));
}

/** INVLPG: the page at vpn = `hi` << 32 | `lo` in a space, whatever its size, and globally. */
export function tlbFlushPage(vcpu: usize, space: u32, lo: u32, hi: u32): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const tag = <u64>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  // A space without a tag has no translations of its own; tag 0 then matches global ones only,
  // since no valid entry of a space carries it.
  removePage(tlb, ((((<u64>hi) << 32) | (<u64>lo)) << 12) | tag);
  bump(TLB_FLUSHES);
}

/** Whether a key is a valid one for a page, in whatever space. */
function isPage(key: u64, want: u64): bool {
  return key != 0 && ((key ^ want) & TLB_PAGE_MASK) == 0;
}

function removePageOrdered(array: usize, page: u64, want: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  for (let way: u32 = 0; way < ways;) {
    if (isPage(load<u64>(set + ((<usize>way) << 4)), want)) removeOrdered(set, ways, way);
    else way++;
  }
}

/** Flushes the page of a gva in every space, as the host does for an spte that it changed. */
export function tlbFlushGva(vcpu: usize, gva: u64): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  removePageOrdered(tlb + TLB_L1, gva >> 12, gva);
  const l2 = tlb + TLB_L2;
  const set = setOf(l2, gva >> 12);
  const ways = load<u32>(l2, ARRAY_WAYS);
  for (let way: u32 = 0; way < ways; way++) {
    if (isPage(load<u64>(set + 16 + ((<usize>way) << 3)), gva)) removeAged(set, ways, way);
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) == 0) return;
  removePageOrdered(tlb + TLB_LARGE, gva >> 21, largeWant(gva, false));
  removePageOrdered(tlb + TLB_LARGE, gva >> 30, largeWant(gva, true));
}

function retire(tlb: usize, tag: u32): void {
  store<u8>(tlb + TLB_TAG_STATE + <usize>tag, TAG_DEAD);
  const space = <usize>load<u16>(tlb + TLB_TAG_SPACE + ((<usize>tag) << 1));
  store<u8>(tlb + TLB_SPACE_TAG + space, 0);
}

function retireAll(tlb: usize): void {
  for (let base: u32 = 0; base < TAGS; base += 16) {
    const states = v128.load(tlb + TLB_TAG_STATE + <usize>base);
    let live = i8x16.bitmask(i8x16.eq(states, i8x16.splat(<i8>TAG_LIVE)));
    for (; live != 0; live &= live - 1) retire(tlb, base + ctz<u32>(live));
  }
  store<u32>(tlb + TLB_FLUSH_COUNT, load<u32>(tlb + TLB_FLUSH_COUNT) + 1);
}

/** INVPCID type 1, or MOV to CR3 without PCIDs: all of a space but global translations. */
export function tlbFlushSpace(vcpu: usize, space: u32): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  const tag = <u32>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  if (tag == 0) return;
  retire(tlb, tag);
  store<u32>(tlb + TLB_FLUSH_COUNT, load<u32>(tlb + TLB_FLUSH_COUNT) + 1);
  if (load<u32>(tlb + TLB_SPACE) == space) selectSpace(vcpu, tlb, space);
}

/** INVPCID type 3: all spaces, global translations stay. */
export function tlbFlushNonGlobal(vcpu: usize): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  retireAll(tlb);
  selectSpace(vcpu, tlb, load<u32>(tlb + TLB_SPACE));
}

/** INVPCID type 2, a toggle of CR4.PGE or a flush by the host: everything. */
export function tlbFlushAll(vcpu: usize): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  store<u32>(tlb + TLB_HAS_LARGE, 0);
  const epoch = load<u32>(tlb + TLB_EPOCH);
  if (epoch == EPOCH_MAX) {
    store<u32>(tlb + TLB_EPOCH, EPOCH_NONE);
    sweep(tlb);
  }
  store<u32>(tlb + TLB_EPOCH, epoch == EPOCH_MAX ? 1 : epoch + 1);
  tlbFlushNonGlobal(vcpu);
}

/** Makes `space` the current one (MOV to CR3 with PCIDs and the no-flush bit). */
export function tlbSelect(vcpu: usize, space: u32): void {
  assert(space < TLB_SPACES, 'a space is a PCID');
  selectSpace(vcpu, <usize>load<u32>(vcpu, VCPU_TLB), space);
}

function selectSpace(vcpu: usize, tlb: usize, space: u32): void {
  let tag = <u32>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  if (tag == 0) {
    tag = allocTag(tlb);
    store<u8>(tlb + TLB_TAG_STATE + <usize>tag, TAG_LIVE);
    store<u16>(tlb + TLB_TAG_SPACE + ((<usize>tag) << 1), <u16>space);
    store<u8>(tlb + TLB_SPACE_TAG + <usize>space, <u8>tag);
  }
  store<u32>(tlb + TLB_SPACE, space);
  store<u32>(vcpu, tag, VCPU_TLB_TAG);
}

function findFreeTag(tlb: usize): u32 {
  for (let tag: u32 = load<u32>(tlb + TLB_NEXT_TAG); tag < TAGS; tag++) {
    if (load<u8>(tlb + TLB_TAG_STATE + <usize>tag) == TAG_FREE) {
      store<u32>(tlb + TLB_NEXT_TAG, tag + 1);
      return tag;
    }
  }
  return 0;
}

function allocTag(tlb: usize): u32 {
  let tag = findFreeTag(tlb);
  if (tag != 0) return tag;
  sweep(tlb);
  tag = findFreeTag(tlb);
  if (tag != 0) return tag;
  // More live spaces than tags: all of them start anew.
  retireAll(tlb);
  sweep(tlb);
  return findFreeTag(tlb);
}

/** Purges every set, so that no entry carries a dead tag, and frees those tags. */
function sweep(tlb: usize): void {
  sweepArray(tlb, tlb + TLB_L1);
  sweepArray(tlb, tlb + TLB_L2);
  sweepArray(tlb, tlb + TLB_LARGE);
  for (let tag: usize = 1; tag < <usize>TAGS; tag++) {
    if (load<u8>(tlb + TLB_TAG_STATE + tag) == TAG_DEAD) {
      store<u8>(tlb + TLB_TAG_STATE + tag, TAG_FREE);
    }
  }
  store<u32>(tlb + TLB_NEXT_TAG, 1);
}

/** Purges an array and takes the dead tags off the global entries that stay. */
function sweepArray(tlb: usize, array: usize): void {
  const sets = load<u32>(array, ARRAY_SETS) + 1;
  const ways = load<u32>(array, ARRAY_WAYS);
  const ages = <usize>load<u32>(array, ARRAY_AGES);
  const stride: usize = ages != 0 ? 8 : 16;
  for (let i: u32 = 0; i < sets; i++) {
    const set = setOf(array, <u64>i);
    if (ages != 0) purgeAged(tlb, set, ways);
    else purgeOrdered(tlb, set, ways);
    for (let way: usize = 0; way < <usize>ways; way++) {
      const at = set + ages + way * stride;
      const key = load<u64>(at);
      const tag = <usize>(key & TLB_TAG_MASK);
      if (load<u8>(tlb + TLB_TAG_STATE + tag) != TAG_LIVE) store<u64>(at, key & ~TLB_TAG_MASK);
    }
  }
}
