// Scenarios of one's own for `shadowmmu explore`: a GPU driver that mirrors one page of a process and
// registers its own notifier, beside whatever secondary MMU the preset has. One takes count and sequence of
// invalidations into account before it maps a page, the other only follows invalidations.
//
//   $ shadowmmu explore 6.x examples/explore/gpu.mjs
//   6.x  gpu-follows  violated gpu_maps_owned_frames (13 steps); …
//   6.x  gpu-checks   holds …

const HVN = 0x100;
const LOCK_GPU = 2000;
const FOLL_WRITE = 1;
const FRAME_REFCOUNT = 4;

class Gpu {
  /** State is in fields that are listed and replaced by assignment. */
  entry = 0;
  running = 0;
  seq = 0;
  stateFields = ['entry', 'running', 'seq'];

  constructor(machine, checks) {
    this.mm = machine.mm;
    this.checks = checks;
    machine.mm.registerNotifier({
      steps: {
        invalidateRangeStart: (t, at) => this.change(t, at, () => (this.running += 1)),
        invalidateRangeEnd: (t, at) =>
          this.change(t, at, () => {
            this.running -= 1;
            this.seq += 1;
          }),
      },
    });
  }

  /** Under the GPU's lock: the entry goes, and who is about to map it is told. */
  change(t, at, count) {
    if (!t.lock(at, 0, LOCK_GPU)) return false;
    this.entry = 0;
    count();
    t.unlock(LOCK_GPU);
    return t.done(at, 0);
  }

  fault(t, at) {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (!t.wait(at, 0, !this.checks || this.running === 0, 'gpu_fault: waits')) return false;
          s[at + 1] = this.seq;
          if (t.preempt(at, 1, 'gpu_fault: get_user_pages')) return false;
        case 1:
          s.set([0, HVN, FOLL_WRITE], at + 4);
          s[at] = 2;
        case 2:
          if (!this.mm.getUserPages(t, at + 4)) return false;
          s[at + 2] = t.result;
          this.mm.host.core.x.putPage(t.result);
          if (t.preempt(at, 3, 'gpu_fault: take the lock of the GPU')) return false;
        case 3: {
          if (!t.lock(at, 3, LOCK_GPU)) return false;
          const stale = this.checks && (this.running > 0 || this.seq !== s[at + 1]);
          if (!stale) this.entry = s[at + 2] + 1;
          t.unlock(LOCK_GPU);
          if (!stale) return t.done(at, 0);
          s[at] = 0;
        }
      }
    }
  }
}

function scenario(name, checks) {
  let gpu;
  return {
    name,
    says: `a GPU ${checks ? 'that checks the sequence' : 'that only follows'} faults during a zap`,
    actors(machine, { zap }) {
      gpu = new Gpu(machine, checks);
      const run = (t, at) => gpu.fault(t, at);
      return [{ name: 'gpu', begins: 'gpu_fault: begins', run }, zap(machine)];
    },
    records: () => [gpu],
    properties: ({ core }) => [
      {
        name: 'gpu_maps_owned_frames',
        says: 'the GPU maps no free frame',
        state() {
          const { entry } = gpu;
          if (entry === 0) return null;
          const refs = core.mem.load32(core.x.framePtr(entry - 1) + FRAME_REFCOUNT);
          return refs > 0 ? null : `the GPU maps frame ${entry - 1}, which is free`;
        },
      },
    ],
  };
}

export const scenarios = [scenario('gpu-follows', false), scenario('gpu-checks', true)];
