// A reclaim policy of one's own: the page that came last goes first. On a loop that is a little longer
// than memory, which is the worst case of FIFO and LRU, it keeps most of the loop:
//
//   fifo  2000 reads
//   mru   499 reads
import { FifoPolicy, Host, loadCore, LRU_POLICY_FIRST, Stats, VERDICT_RECLAIM } from 'shadowmmu';

const LIST = LRU_POLICY_FIRST;
const FRAMES = 80;
const LOOP = 100;

const mru = {
  name: 'mru',
  cluster: 1,
  attach(host) {
    this.core = host.core.x;
    this.core.lruSetMap(LIST, LIST, LIST, LIST, 0);
  },
  begin() {
    this.left = this.core.lruSize(LIST);
  },
  next() {
    const page = this.left-- > 0 ? this.core.lruHead(LIST) : 0;
    if (page !== 0) this.core.lruIsolate(page);
    return page;
  },
  mayStop: () => true,
  asks: () => false,
  judge: () => VERDICT_RECLAIM,
  putBack(page, verdict) {
    this.core.lruVerdict(page, verdict);
  },
};

for (const policy of [new FifoPolicy(), mru]) {
  const core = loadCore();
  const host = new Host(core, { frames: FRAMES, policy });
  const mm = host.createMm();
  const base = mm.mmap({ npages: LOOP, file: host.createFile() });
  for (let i = 0; i < 20 * LOOP; i++) mm.access(base + (i % LOOP), false);
  console.log(`${policy.name.padEnd(5)} ${new Stats(core).get('file_reads')} reads`);
}
