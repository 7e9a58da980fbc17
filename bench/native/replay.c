/*
 * The native reference of the replay benchmarks: what a plain C program needs to replay a trace of
 * memory references through a TLB, page tables and a page replacement policy.
 *
 *   replay TRACE FRAMES clock|lru [stamps|recency [WARMUP [PASSES]]]
 *
 * TRACE holds one little-endian u64 a reference: the page address in bits 63:12, the kind in bits
 * 1:0 (0 read, 1 write, 2 fetch). It is read before the clock starts; the first WARMUP references are
 * made before it starts too. The rest is replayed PASSES times in a row on the one machine; the counts
 * that are printed are those of what was timed.
 *
 * The machine: a 64-entry 4-way L1 TLB and a 1536-entry 12-way L2 TLB with true LRU, a 4-level radix
 * page table with A and D bits, FRAMES page frames. CLOCK gives a second chance by the A bit and
 * flushes the page from the TLBs when it clears it, so that a later access sets it again; exact LRU
 * moves the frame to the list's head on every reference. Memory starts empty; every first touch is a
 * fault; evicting a dirty page is a write-back; what is resident at the end is not written.
 *
 * `stamps` (the default) is the usual way to write true LRU: a counter stored in the way on each
 * hit. `recency` keeps the ways sorted by recency instead, as the emulator's L1 does.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { L1_SETS = 16, L1_WAYS = 4, L2_SETS = 128, L2_WAYS = 12 };
enum { PTE_P = 1, PTE_A = 0x20, PTE_D = 0x40 };
enum { KIND_MASK = 3, KIND_WRITE = 1 };

#define NO_FRAME UINT32_MAX

struct way {
  uint64_t key; /* vpn << 1 | dirty, + 2 so that 0 is empty */
  uint64_t stamp;
  uint32_t frame;
};

struct frame {
  uint64_t vpn;
  uint64_t *pte;
  uint32_t prev, next;
};

static struct way l1[L1_SETS][L1_WAYS];
static struct way l2[L2_SETS][L2_WAYS];
static uint64_t now;
static uint64_t root[512];
static struct frame *frames;
static uint32_t nframes, used, hand, head = NO_FRAME, tail = NO_FRAME;
static uint64_t faults, writebacks, l1_misses, walks;
static int exact_lru, recency;

static uint64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *must(void *p) {
  if (!p) {
    fprintf(stderr, "replay: out of memory\n");
    exit(1);
  }
  return p;
}

/* ---- TLB ---- */

static inline uint64_t key_of(uint64_t vpn) { return (vpn << 1) + 2; }

static inline void promote(struct way *set, int way) {
  if (!recency) {
    set[way].stamp = ++now;
    return;
  }
  struct way w = set[way];
  for (; way > 0; way--) set[way] = set[way - 1];
  set[0] = w;
}

static inline int find(const struct way *set, int ways, uint64_t key) {
  for (int i = 0; i < ways; i++)
    if ((set[i].key & ~1ull) == key) return i;
  return -1;
}

static inline int victim(const struct way *set, int ways) {
  if (recency) return ways - 1;
  int oldest = 0;
  for (int i = 1; i < ways; i++)
    if (set[i].stamp < set[oldest].stamp) oldest = i;
  return oldest;
}

static inline void fill(struct way *set, int ways, uint64_t key, uint32_t frame) {
  int i = find(set, ways, key & ~1ull);
  if (i < 0) i = victim(set, ways);
  set[i].key = key;
  set[i].frame = frame;
  promote(set, i);
}

static void drop(struct way *set, int ways, uint64_t key) {
  int i = find(set, ways, key);
  if (i < 0) return;
  if (recency)
    for (; i + 1 < ways; i++) set[i] = set[i + 1];
  memset(&set[i], 0, sizeof set[i]);
}

static void flush_page(uint64_t vpn) {
  drop(l1[vpn % L1_SETS], L1_WAYS, key_of(vpn));
  drop(l2[vpn % L2_SETS], L2_WAYS, key_of(vpn));
}

/* ---- page table ---- */

static uint64_t *table_of(uint64_t *entry) {
  if (!(*entry & PTE_P)) {
    void *table = must(aligned_alloc(4096, 4096));
    memset(table, 0, 4096);
    *entry = (uint64_t)(uintptr_t)table | PTE_P | PTE_A;
  }
  return (uint64_t *)(uintptr_t)(*entry & ~0xfffull);
}

static uint64_t *walk(uint64_t vpn) {
  uint64_t *pdpt = table_of(&root[vpn >> 27 & 511]);
  uint64_t *pd = table_of(&pdpt[vpn >> 18 & 511]);
  uint64_t *pt = table_of(&pd[vpn >> 9 & 511]);
  walks++;
  return &pt[vpn & 511];
}

/* ---- replacement ---- */

static void unlink_frame(uint32_t f) {
  struct frame *p = &frames[f];
  if (p->prev != NO_FRAME) frames[p->prev].next = p->next;
  else head = p->next;
  if (p->next != NO_FRAME) frames[p->next].prev = p->prev;
  else tail = p->prev;
}

static void push_head(uint32_t f) {
  frames[f].prev = NO_FRAME;
  frames[f].next = head;
  if (head != NO_FRAME) frames[head].prev = f;
  else tail = f;
  head = f;
}

static uint32_t clock_victim(void) {
  for (;; hand = hand + 1 == nframes ? 0 : hand + 1) {
    struct frame *p = &frames[hand];
    if (!(*p->pte & PTE_A)) break;
    *p->pte &= ~(uint64_t)PTE_A;
    flush_page(p->vpn);
  }
  uint32_t f = hand;
  hand = hand + 1 == nframes ? 0 : hand + 1;
  return f;
}

static uint32_t take_frame(void) {
  if (used < nframes) return used++;
  uint32_t f = exact_lru ? tail : clock_victim();
  if (exact_lru) unlink_frame(f);
  if (*frames[f].pte & PTE_D) writebacks++;
  *frames[f].pte = 0;
  flush_page(frames[f].vpn);
  return f;
}

/* ---- one reference ---- */

static uint32_t miss(uint64_t vpn, int write) {
  l1_misses++;
  struct way *set2 = l2[vpn % L2_SETS];
  uint64_t key = key_of(vpn);
  int i = find(set2, L2_WAYS, key);
  if (i >= 0 && (!write || (set2[i].key & 1))) {
    uint64_t dirty = set2[i].key & 1;
    uint32_t frame = set2[i].frame;
    promote(set2, i);
    fill(l1[vpn % L1_SETS], L1_WAYS, key | dirty, frame);
    return frame;
  }
  uint64_t *pte = walk(vpn);
  if (!(*pte & PTE_P)) {
    faults++;
    uint32_t f = take_frame();
    frames[f].vpn = vpn;
    frames[f].pte = pte;
    *pte = (uint64_t)f << 12 | PTE_P;
    if (exact_lru) push_head(f);
  }
  *pte |= PTE_A | (write ? PTE_D : 0);
  uint32_t frame = (uint32_t)(*pte >> 12);
  key |= (*pte & PTE_D) != 0;
  fill(set2, L2_WAYS, key, frame);
  fill(l1[vpn % L1_SETS], L1_WAYS, key, frame);
  return frame;
}

static inline uint32_t reference(uint64_t vpn, int write) {
  struct way *set = l1[vpn % L1_SETS];
  uint64_t key = key_of(vpn);
  for (int i = 0; i < L1_WAYS; i++) {
    if ((set[i].key & ~1ull) != key) continue;
    if (write && !(set[i].key & 1)) break;
    uint32_t frame = set[i].frame;
    promote(set, i);
    return frame;
  }
  return miss(vpn, write);
}

static void run_clock(const uint64_t *records, size_t n) {
  for (size_t i = 0; i < n; i++) reference(records[i] >> 12, (records[i] & KIND_MASK) == KIND_WRITE);
}

static void run_lru(const uint64_t *records, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint32_t f = reference(records[i] >> 12, (records[i] & KIND_MASK) == KIND_WRITE);
    if (f == head) continue;
    unlink_frame(f);
    push_head(f);
  }
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: replay TRACE FRAMES clock|lru [stamps|recency [WARMUP [PASSES]]]\n");
    return 2;
  }
  FILE *in = fopen(argv[1], "rb");
  if (!in) {
    perror(argv[1]);
    return 1;
  }
  fseek(in, 0, SEEK_END);
  size_t n = (size_t)ftell(in) / 8;
  rewind(in);
  uint64_t *records = must(malloc(n * 8));
  if (fread(records, 8, n, in) != n) {
    fprintf(stderr, "replay: short read of %s\n", argv[1]);
    return 1;
  }
  fclose(in);
  // Where memory is virtual itself, a page's first use by the program costs more than all that is timed on it.
  volatile uint64_t touched = 0;
  for (size_t i = 0; i < n; i++) touched ^= records[i];
  nframes = (uint32_t)strtoul(argv[2], NULL, 10);
  frames = must(calloc(nframes, sizeof *frames));
  exact_lru = strcmp(argv[3], "lru") == 0;
  recency = argc > 4 && strcmp(argv[4], "recency") == 0;
  size_t warmup = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
  size_t passes = argc > 6 ? strtoul(argv[6], NULL, 10) : 1;
  if (exact_lru) run_lru(records, warmup);
  else run_clock(records, warmup);
  faults = writebacks = l1_misses = walks = 0;
  uint64_t start = nanoseconds();
  for (size_t pass = 0; pass < passes; pass++) {
    if (exact_lru) run_lru(records + warmup, n - warmup);
    else run_clock(records + warmup, n - warmup);
  }
  uint64_t ns = nanoseconds() - start;
  printf("{\"references\":%zu,\"faults\":%" PRIu64 ",\"writebacks\":%" PRIu64
         ",\"l1_misses\":%" PRIu64 ",\"walks\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n",
         (n - warmup) * passes, faults, writebacks, l1_misses, walks, ns);
  return 0;
}
