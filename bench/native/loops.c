/*
 * Native references of the loops: the same data, the same work, plain C.
 *
 *   loops age N         test and clear the accessed bit of N entries through a reverse map
 *   loops pages N       the same, one call a page, which begins with the search for its slot
 *   loops array N       the same without the reverse map: a bare array, vectorised by the compiler
 *   loops lackey FILE   decode lackey text into page records, byte by byte
 *
 * Each prints one JSON object with the CPU time in ns, the best of several passes.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 5 };
enum { A = 0x20 };

static uint64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *must(void *p) {
  if (!p) {
    fprintf(stderr, "loops: out of memory\n");
    exit(1);
  }
  return p;
}

/* Entries live in tables of 512; the reverse map has one word a page, the offset of its entry. */
static size_t age(uint64_t *sptes, const uint32_t *rmap, size_t n) {
  size_t young = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t head = rmap[i];
    if (head == 0) continue;
    uint64_t *sptep = (uint64_t *)((char *)sptes + head);
    if (!(*sptep & A)) continue;
    *sptep &= ~(uint64_t)A;
    young++;
  }
  return young;
}

static size_t age_array(uint64_t *sptes, size_t n) {
  size_t young = 0;
  for (size_t i = 0; i < n; i++) {
    young += (sptes[i] & A) != 0;
    sptes[i] &= ~(uint64_t)A;
  }
  return young;
}

/* One page a call, as a notifier is called: hva to slot to gfn to the reverse map's head. */
struct slot {
  uint64_t hvn, npages, base;
  const uint32_t *rmap;
};

static struct slot slots[2];

__attribute__((noinline)) static int age_page(uint64_t *sptes, uint64_t hvn) {
  for (int i = 0; i < 2; i++) {
    const struct slot *slot = &slots[i];
    if (hvn - slot->hvn >= slot->npages) continue;
    return age(sptes, slot->rmap + (hvn - slot->hvn), 1) != 0;
  }
  return 0;
}

static size_t age_pages(uint64_t *sptes, const uint32_t *rmap, size_t n) {
  size_t young = 0;
  slots[0] = (struct slot){1 << 20, n, 256, rmap};
  slots[1] = (struct slot){(1 << 20) + n, 4096, 256 + n, rmap};
  for (size_t i = 0; i < n; i++) young += (size_t)age_page(sptes, (1 << 20) + i);
  return young;
}

static int run_age(size_t n, char how) {
  uint64_t *sptes = must(malloc((n + 1) * 8));
  uint32_t *rmap = must(malloc(n * 4));
  uint64_t best = UINT64_MAX;
  size_t young = 0;
  for (size_t i = 0; i < n; i++) rmap[i] = (uint32_t)(i + 1) * 8;
  for (size_t i = 0; i <= n; i++) sptes[i] = i << 12 | 0x47;
  for (int pass = 0; pass < PASSES; pass++) {
    /* Between two passes every page is used. */
    for (size_t i = 0; i < n; i++) *(uint64_t *)((char *)sptes + rmap[i]) |= A;
    uint64_t start = nanoseconds();
    if (how == 'p') young = age_pages(sptes, rmap, n);
    else young = how == 'a' ? age_array(sptes + 1, n) : age(sptes, rmap, n);
    uint64_t ns = nanoseconds() - start;
    if (ns < best) best = ns;
  }
  printf("{\"entries\":%zu,\"young\":%zu,\"ns\":%" PRIu64 "}\n", n, young, best);
  return 0;
}

/* One pass over the text; hexadecimal digits until the comma, decimal size until the newline. */
static size_t decode(const char *p, const char *end, uint64_t *out) {
  uint64_t *start = out;
  while (p < end) {
    if (p[0] == '=') {
      while (*p++ != '\n') continue;
      continue;
    }
    uint64_t kind = p[0] == 'I' ? 2 : p[1] == 'L' ? 0 : 1;
    uint64_t address = 0;
    uint32_t size = 0;
    p += 3;
    for (; *p != ','; p++) {
      unsigned c = (unsigned char)*p;
      address = address << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    for (p++; *p != '\n'; p++) size = size * 10 + (uint32_t)(*p - '0');
    p++;
    uint64_t page = address & ~0xfffull;
    *out++ = page | kind;
    if (((address + size - 1) & ~0xfffull) != page) *out++ = (page + 4096) | kind;
  }
  return (size_t)(out - start);
}

static int run_lackey(const char *path) {
  FILE *in = fopen(path, "rb");
  if (!in) {
    perror(path);
    return 1;
  }
  fseek(in, 0, SEEK_END);
  size_t bytes = (size_t)ftell(in);
  rewind(in);
  char *text = must(malloc(bytes + 1));
  if (fread(text, 1, bytes, in) != bytes) {
    fprintf(stderr, "loops: short read of %s\n", path);
    return 1;
  }
  fclose(in);
  text[bytes] = '\n';
  uint64_t *out = must(malloc(bytes + 16));
  memset(out, 0, bytes + 16);
  uint64_t best = UINT64_MAX;
  size_t records = 0;
  for (int pass = 0; pass < PASSES; pass++) {
    uint64_t start = nanoseconds();
    records = decode(text, text + bytes, out);
    uint64_t ns = nanoseconds() - start;
    if (ns < best) best = ns;
  }
  printf("{\"bytes\":%zu,\"records\":%zu,\"ns\":%" PRIu64 "}\n", bytes, records, best);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "age") == 0) return run_age(strtoul(argv[2], NULL, 10), 'r');
  if (argc == 3 && strcmp(argv[1], "array") == 0) return run_age(strtoul(argv[2], NULL, 10), 'a');
  if (argc == 3 && strcmp(argv[1], "pages") == 0) return run_age(strtoul(argv[2], NULL, 10), 'p');
  if (argc == 3 && strcmp(argv[1], "lackey") == 0) return run_lackey(argv[2]);
  fprintf(stderr, "usage: loops age|pages|array N, loops lackey FILE\n");
  return 2;
}
