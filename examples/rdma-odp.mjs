// A driver author's notifier in their own test suite: an RDMA-like card with on-demand paging. Its
// fault looks a page up and writes it into the card's translation table, while madvise(DONTNEED) takes
// the page away. Without the retry check the explorer finds the schedule after which the card writes
// into a page that is free; with it, every schedule is fine.
//
//   $ node examples/rdma-odp.mjs
//   without the retry check: violated, shortest schedule 12 steps
//   …
//     9                                                 zap_page_range: the ptes are cleared
//    10                                                 mmu_notifier: call invalidate_range_end
//    11                                                 mmu_notifier: call invalidate_range
//    12  card: DMA write
//          ∎ ends
//
//   ✗ dma_to_owned_page: the card wrote frame 1, which is free
//
//   with the retry check: holds
//   135 states
import {
  AGING_PRESETS,
  explore,
  Host,
  IntervalNotifier,
  loadCore,
  ViolationSink,
  zapPageRange,
} from 'shadowmmu';

const HVN = 0x100;
const LOCK_CARD = 1000;
const FRAME_REFCOUNT = 4;
const FOLL_WRITE = 1;

/** The card: one entry of a translation table and the driver's side of the notifiers. */
class Card {
  /** pfn + 1, or 0. Replaced by assignment, and listed, so that the explorer can save it. */
  entry = 0;
  stateFields = ['entry'];

  constructor(mm, checks) {
    this.mm = mm;
    this.checks = checks;
    this.notifier = new IntervalNotifier(HVN, HVN + 1, (t, at) => this.invalidate(t, at));
  }

  // Each step of a protocol is a case; locals that live across a preemption are in the task's stack.
  fault(t, at) {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (!this.notifier.readBegin(t, at, 0)) return false;
          s[at + 1] = this.notifier.readSeq();
          if (t.preempt(at, 1, 'odp_fault: get_user_pages')) return false;
        case 1:
          s[at + 4] = 0;
          s[at + 5] = HVN;
          s[at + 6] = FOLL_WRITE;
          s[at] = 2;
        case 2:
          if (!this.mm.getUserPages(t, at + 4)) return false;
          s[at + 2] = t.result;
          this.mm.host.core.x.putPage(t.result);
          if (t.preempt(at, 3, 'odp_fault: take the umem lock')) return false;
        case 3:
          if (!t.lock(at, 3, LOCK_CARD)) return false;
          if (this.checks && this.notifier.readRetry(s[at + 1])) {
            t.unlock(LOCK_CARD);
            s[at] = 0;
            continue;
          }
          this.entry = s[at + 2] + 1;
          t.unlock(LOCK_CARD);
          return t.done(at, 0);
      }
    }
  }

  invalidate(t, at) {
    if (!t.lock(at, 0, LOCK_CARD)) return false;
    this.notifier.setSeq(t.stack[at + 3]);
    this.entry = 0;
    t.unlock(LOCK_CARD);
    return t.done(at, 0);
  }
}

/** One page, the card's fault and DMA on one side, madvise(DONTNEED) on the other. */
function scenario(checks) {
  const core = loadCore('explore');
  const aging = AGING_PRESETS.clear_young;
  const host = new Host(core, { frames: 8, residentFrames: 4, swapPages: 8, aging });
  const mm = host.createMm();
  mm.notifiers.chainLock = 'srcu';
  mm.mmap({ hvn: HVN, npages: 1 });
  mm.access(HVN, true);
  const card = new Card(mm, checks);
  mm.registerNotifier(card.notifier.ops);
  const sink = new ViolationSink();

  const dma = (t, at) => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        if (!card.fault(t, at + 1)) return false;
        if (t.preempt(at, 1, 'card: DMA write')) return false;
      case 1: {
        const pfn = card.entry - 1;
        const refs = pfn < 0 ? 1 : core.mem.load32(core.x.framePtr(pfn) + FRAME_REFCOUNT);
        if (refs === 0)
          sink.report('dma_to_owned_page', `the card wrote frame ${pfn}, which is free`);
      }
    }
    return t.done(at, 0);
  };
  const madvise = (t, at) => {
    const s = t.stack;
    if (s[at] === 0) {
      s.set([1, 0, 0, 0, 0, HVN, HVN + 1, 1, 0], at);
    }
    return zapPageRange(t, at + 4, mm) && t.done(at, 0);
  };
  return {
    core,
    actors: [
      { name: 'card', begins: 'mmu_interval_read_begin', run: dma },
      { name: 'madvise', begins: 'zap_page_range: begins', run: madvise },
    ],
    properties: [{ name: 'dma_to_owned_page', says: 'DMA reaches no free frame' }],
    records: [...host.stateObjects(), card, card.notifier].filter((o) => 'stateFields' in o),
    sink,
  };
}

for (const checks of [false, true]) {
  const { verdict, violations, search } = explore(() => scenario(checks));
  const steps = violations.map((v) => `, shortest schedule ${v.schedule.length} steps`).join('');
  console.log(`${checks ? 'with' : 'without'} the retry check: ${verdict}${steps}`);
  console.log(`${search.states} states`);
  for (const { text } of violations) console.log(`\n${text}`);
}
