// The host operations of a script (`h …`): what the recording driver, as the VMM's process, does to
// its memory, to the VM's slots, and to the host.

import {
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
} from '../../../assembly/abi.ts';
import { CoreBugError, DataError, ERRNO, KvmError } from '../../core/errors.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import type { Host } from '../../mm/host.ts';
import { khugepagedPass } from '../../mm/khugepaged.ts';
import type { Mm } from '../../mm/mm.ts';
import { MN_CLEAR_FLUSH_YOUNG, MN_CLEAR_YOUNG, MN_TEST_YOUNG } from '../../mm/notifier-ops.ts';
import { COUNTER_SLOTS } from '../../stats/stats.ts';
import type { DriverMemory } from './driver-memory.ts';
import { type Facilities, refusalOf } from './facilities.ts';
import type { History } from './history.ts';
import type { OurStep } from './our-step.ts';
import { DATA_GFN, DATA_HVN, INFRA_HVN } from './layout.ts';
import { HostTlb } from './host-tlb.ts';
import { LruSwitch } from './lru-switch.ts';
import { errnoName } from './recorded-vcpu.ts';
import type { JsonObject } from './recording.ts';
import { leafTable, parseNumber, parsePte } from './script.ts';
import type { Script } from './script.ts';

/** Pages of a reclaim request at least, and how often one without success is repeated. */
const SWAP_CLUSTER_MAX = 32;
const MAX_RECLAIM_RETRIES = 16;
/** More passes than ksmd makes in the time that scripts give it. */
const KSM_PASSES = 20;
/** Bytes of kernel objects that are counted at once: more than a page. */
export const OBJECT_BYTES = 4104;

/** 14 ticks of 4 ms: msecs_to_jiffies(50) and the tick under way. */
const KHUGEPAGED_PERIOD_MS = 56;

/** What an operation came to. */
export interface HostResult {
  readonly result: JsonObject;
  readonly extra: Pick<OurStep, 'age' | 'dirty'>;
}

/** More pages than any recording has. */
export const NO_LIMIT = 1 << 20;

function rc(value: number): JsonObject {
  return value < 0 ? { rc: String(value), errno: errnoName(-value) } : { rc: String(value) };
}

/** A call's result, or the errno with which it fails. */
function errnoOf(call: () => number): number {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return -ERRNO[error.code];
  }
}

/** Runs host operations. */
export class RecordedHost {
  readonly #host: Host;
  readonly #mm: Mm;
  readonly #kvm: Kvm;
  readonly #script: Script;
  readonly #driver: DriverMemory;
  #child: Mm | null = null;
  /** What happens now is done by another task: the forked process, or a work queue. */
  byOthers = false;
  /** fork() was called: the driver's own pages may be shared. */
  forked = false;
  /** Whether no object of the kernel was charged since the CPU's stocks were drained. */
  #drained = false;
  readonly #history: History;
  readonly #facilities: Facilities;
  /** Whether the recording's reclaim on request succeeds in this step. */
  reclaims = false;
  readonly tlb: HostTlb;

  constructor(
    host: Host,
    mm: Mm,
    kvm: Kvm,
    script: Script,
    driver: DriverMemory,
    history: History,
    facilities: Facilities,
  ) {
    this.#driver = driver;
    this.#history = history;
    this.#facilities = facilities;
    this.#host = host;
    this.#mm = mm;
    this.#kvm = kvm;
    this.#script = script;
    this.tlb = new HostTlb(mm);
  }

  /** Whether every data page lies in a mapping. */
  allMapped(): boolean {
    const { pages } = this.#script;
    for (let i = 0; i < pages;) {
      const vma = this.#mm.findVma(DATA_HVN + i);
      if (vma === undefined) return false;
      i = vma.end - DATA_HVN;
    }
    return true;
  }

  /** Value of one of the emulator's counters. */
  counter(name: string): number {
    const slot = (COUNTER_SLOTS as Readonly<Record<string, number>>)[name];
    const { core } = this.#host;
    return slot === undefined ? 0 : core.mem.load64((core.x.statsPtr() >>> 0) + slot * 8);
  }

  /**
   * A small object of the kernel is charged, by the byte: the first one after the stocks were drained needs a page, for
   * which the group may have to reclaim. What was left before makes up a whole page with the rest of it, so that one
   * is given back at once (obj_cgroup_charge(), refill_obj_stock()); later objects find enough.
   */
  chargeObject(): void {
    if (!this.#drained) return;
    this.#drained = this.#history.opensCounters;
    const host = this.#host;
    if (host.charged() >= host.room) this.#mm.runNested((t, at) => host.tryCharge(t, at));
    host.core.x.memcgUpdated(1);
    host.core.x.memcgUpdated(1);
  }

  /** The bytes of kernel objects that the CPU gathered exceed a page, as those of a process do. */
  countObjects(): void {
    const pages = this.#host.generation.groupStats === 'pages';
    this.#host.core.x.memcgUpdated(pages ? 1 : OBJECT_BYTES);
  }

  /** One operation: its words without the leading `h`. */
  run(words: readonly string[]): HostResult {
    const [op] = words as [string];
    const refusal = refusalOf(this.#facilities, op);
    if (refusal !== 0) return { result: rc(-refusal), extra: {} };
    if (op === 'age') return this.#age(words);
    if (op === 'getdirty') return this.#getDirty();
    return {
      result: rc(errnoOf(() => this.#memory(op, words) ?? this.#other(op, words))),
      extra: {},
    };
  }

  /** Operations on the mapping; undefined: not one of them. */
  #memory(op: string, words: readonly string[]): number | undefined {
    const i = words[1] === undefined ? 0 : Number(words[1]) || 0;
    const n = words[2] === undefined ? 1 : Number(words[2]) || 1;
    const hvn = DATA_HVN + i;
    const mm = this.#mm;
    switch (op) {
      case 'read':
        return this.#touch(hvn, n, null, 1);
      case 'write':
        return this.#touch(hvn, n, words[3] === undefined ? 0xaa : parseNumber(words[3]), 1);
      case 'fill':
        return this.#touch(hvn, n, words[3] === undefined ? 0 : parseNumber(words[3]), 4096);
      case 'dontneed':
      case 'cold':
      case 'pageout':
      case 'free':
      case 'willneed':
      case 'populate_read':
      case 'populate_write':
      case 'dontfork':
      case 'mergeable':
      case 'unmergeable':
      case 'remove':
      case 'hugepage':
      case 'nohugepage':
      case 'collapse':
        return mm.madvise(hvn, n, op);
      case 'clear_refs':
        return mm.clearRefs(i);
      case 'khugepaged':
        return this.#khugepaged(i);
      case 'drain':
        this.#driver.noteArea(0);
        this.#host.core.x.lruAddDrain();
        return 0;
      case 'mprotect':
        return mm.mprotect(hvn, n, {
          read: words[3] !== 'none',
          write: (words[3] ?? '').startsWith('rw'),
          exec: words[3] === 'rwx',
        });
      case 'munmap':
        mm.munmap(hvn, n);
        return 0;
      case 'mmapfixed':
        mm.mmap({ hvn, npages: n });
        return 0;
      case 'mremap':
        return Math.min(0, mm.mremap(hvn, n, DATA_HVN + parseNumber(words[3] ?? '0')));
      case 'fork':
        this.countObjects();
        this.#child = mm.fork();
        this.forked = true;
        this.#driver.forked();
        this.hidden(() => this.#runChild());
        return 0;
      case 'reap':
        this.hidden(() => this.#child?.exit());
        this.countObjects();
        this.#child = null;
        return 0;
      case 'ksm':
        this.#host.ksm.scan(KSM_PASSES, () => this.hidden(() => this.#host.core.x.lruAddDrain()));
        return 0;
      case 'mlock':
      case 'munlock':
        return mm.mlock(hvn, n, op === 'mlock');
      default:
        return undefined;
    }
  }

  #other(op: string, words: readonly string[]): number {
    const i = words[1] === undefined ? 0 : Number(words[1]) || 0;
    const { pages } = this.#script;
    const region = { slot: 1, gfn: DATA_GFN, hvn: DATA_HVN };
    switch (op) {
      case 'slot_delete':
        this.#kvm.setUserMemoryRegion({ ...region, npages: 0 });
        return 0;
      case 'slot_add':
      case 'dirtylog_off':
        this.#kvm.setUserMemoryRegion({ ...region, npages: pages });
        return 0;
      case 'slot_ro':
        this.#kvm.setUserMemoryRegion({ ...region, npages: 0 });
        this.#kvm.setUserMemoryRegion({ ...region, npages: pages, flags: KVM_MEM_READONLY });
        return 0;
      case 'dirtylog_on':
        this.#kvm.setUserMemoryRegion({ ...region, npages: pages, flags: KVM_MEM_LOG_DIRTY_PAGES });
        return 0;
      case 'gpte':
        return this.#editGuestPte(words);
      case 'reclaim':
        return this.#reclaim(i);
      case 'budget':
        return this.#budget(i);
      case 'memmax':
      case 'memhigh':
        this.#host.limit = i === 0 ? NO_LIMIT : i;
        return 0;
      case 'lru_gen':
        return this.#lruGen(words[1] ?? '');
      case 'nop':
      case 'sleep':
        return 0;
      case 'idle':
      case 'isidle':
        // The recorded kernels have no /sys/kernel/mm/page_idle (CONFIG_IDLE_PAGE_TRACKING).
        return -2;
      default:
        throw new DataError(`the host operation '${op}' is not emulated`);
    }
  }

  /** The child runs until it reads from its pipe. */
  #runChild(): void {
    if (this.#child !== null) this.#driver.childRuns(this.#child);
  }

  /** Does what another task of the recorded machine does. */
  hidden(work: () => void): void {
    this.byOthers = true;
    work();
    this.byOthers = false;
  }

  /** khugepaged is woken and scans every 50 ms, which its timer makes 56. */
  #khugepaged(ms: number): number {
    for (let at = 0; at < ms; at += KHUGEPAGED_PERIOD_MS) khugepagedPass(this.#host);
    return 0;
  }

  /** Writes to /sys/kernel/mm/lru_gen/enabled: a mask of capabilities, or y or n for all or none. */
  #lruGen(text: string): number {
    const { policy } = this.#host;
    if (!(policy instanceof LruSwitch)) throw new CoreBugError('the LRU of a recording switches');
    const all = { y: 7, n: 0 }[text.slice(0, 1).toLowerCase()];
    policy.enable(all ?? parseNumber(text));
    return 0;
  }

  /** memory.reclaim: asks for at least a batch, again and again, until enough was freed. */
  #reclaim(pages: number): number {
    const { x } = this.#host.core;
    let freed = 0;
    for (let retries = MAX_RECLAIM_RETRIES; freed < pages;) {
      // lru_add_drain_all() lets a kernel worker drain.
      if (retries === 0) this.hidden(() => x.lruAddDrain());
      const part = Math.floor((pages - freed) / this.#host.generation.requestParts);
      const now = this.#host.reclaim(Math.max(part, SWAP_CLUSTER_MAX));
      freed += now;
      if (now > 0 || retries-- > 0) continue;
      if (!this.reclaims) return -11;
      // The recording's group reclaimed something: its statistics were flushed meanwhile.
      this.reclaims = false;
      x.memcgFlush(1);
      retries = MAX_RECLAIM_RETRIES;
    }
    return 0;
  }

  /**
   * memory.max := what the group uses now and `pages` more. The driver first touches two pages of its
   * own, so that the charge cache is not empty when it is drained; they stay on the same LRU.
   */
  #budget(pages: number): number {
    this.#driver.writeSpare();
    this.#host.core.x.memcgDrainStock();
    this.#drained = !this.#history.stocked;
    this.#host.limit = this.#host.charged() + pages;
    return 0;
  }

  /** The VMM reads or writes its memory as a process does: page by page, with faults. */
  #touch(hvn: number, n: number, value: number | null, bytes: number): number {
    const { core } = this.#host;
    for (let page = hvn; page < hvn + n; page++) {
      if (!this.tlb.holds(page, value !== null)) {
        const result = this.#mm.touch(page, value !== null);
        if (result < 0)
          throw new DataError(`the VMM's access to page ${page - DATA_HVN} would kill it`);
        this.tlb.fill(page);
      }
      if (value === null) continue;
      const pfn = core.x.hpteGet(this.#mm.id, page) >>> HPTE_PFN_SHIFT;
      const at = core.x.frameContentForWrite(pfn) >>> 0;
      core.mem.u8.fill(value & 0xff, at, at + bytes);
    }
    return 0;
  }

  /** The VMM edits the guest's tables through its own mapping: KVM does not see it. */
  #editGuestPte(words: readonly string[]): number {
    const [, space, index, flags, target] = words as [string, string, string, string, string?];
    const at = leafTable(space, parseNumber(index));
    const pte = parsePte(flags, target ?? '0');
    const { core } = this.#host;
    this.#mm.touch(INFRA_HVN + at.table, true);
    const pfn = core.x.hpteGet(this.#mm.id, INFRA_HVN + at.table) >>> HPTE_PFN_SHIFT;
    const entry = (core.x.frameContentForWrite(pfn) >>> 0) + at.index * 8;
    core.mem.store32(entry, pte.lo);
    core.mem.store32(entry + 4, pte.hi);
    return 0;
  }

  /** The age control device: host pte young bit and the notifiers, page by page. */
  #age(words: readonly string[]): HostResult {
    const [, what, first, count] = words as [string, string, string, string?];
    const from = parseNumber(first);
    const n = count === undefined ? 1 : parseNumber(count);
    const age: Record<string, { host: number; kvm: number }> = {};
    const { x } = this.#host.core;
    for (let i = from; i < from + n; i++) {
      const hvn = DATA_HVN + i;
      const pte = x.hpteGet(this.#mm.id, hvn) >>> 0;
      const clears = what === 'clear' || what === 'flush';
      let young = -1;
      // Under PROT_NONE the processor's present bit is clear.
      const present = (pte & (HPTE_PRESENT | HPTE_PROTNONE)) === HPTE_PRESENT;
      if (present && !what.startsWith('kvm')) {
        young = clears ? x.hpteTestAndClearYoung(this.#mm.id, hvn) : x.hpteYoung(this.#mm.id, hvn);
      }
      const op = what.endsWith('flush')
        ? MN_CLEAR_FLUSH_YOUNG
        : what.endsWith('clear')
          ? MN_CLEAR_YOUNG
          : MN_TEST_YOUNG;
      age[i] = { host: young, kvm: this.#mm.notify(op, hvn, hvn + 1) };
    }
    this.#driver.readAges(n);
    return { result: rc(0), extra: { age } };
  }

  #getDirty(): HostResult {
    let dirty: number[] = [];
    const result = errnoOf(() => {
      dirty = this.#kvm.getDirtyLog(1);
      return 0;
    });
    return { result: rc(result), extra: { dirty } };
  }
}
