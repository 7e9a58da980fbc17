// PCIDs of one vCPU as Linux hands them out (cf. choose_new_asid() in arch/x86/mm/tlb.c): six
// slots, the last ones used stay valid, and a slot whose process changed its translations meanwhile
// is flushed when it is loaded again.

/** TLB_NR_DYN_ASIDS in arch/x86/include/asm/tlbflush.h. */
const SLOTS = 6;

/** State of the slots, for snapshots. */
export interface PcidSlotsRecord {
  readonly pids: readonly number[];
  readonly gens: readonly number[];
  readonly next: number;
}

/** The PCID slots of one vCPU. */
export class PcidSlots {
  readonly #pids: number[] = Array.from({ length: SLOTS }, () => -1);
  readonly #gens: number[] = Array.from({ length: SLOTS }, () => 0);
  #next = 0;

  /** Slot for a process; `current`: its cached translations are still right. */
  choose(pid: number, gen: number): { slot: number; current: boolean } {
    let slot = this.#pids.indexOf(pid);
    const current = slot >= 0 && this.#gens[slot] === gen;
    if (slot < 0) {
      slot = this.#next;
      this.#next = (this.#next + 1) % SLOTS;
    }
    this.#pids[slot] = pid;
    this.#gens[slot] = gen;
    return { slot, current };
  }

  /** The vCPU has flushed what generation `gen` of a process took back. */
  sawGen(pid: number, gen: number): void {
    const slot = this.#pids.indexOf(pid);
    if (slot >= 0) this.#gens[slot] = gen;
  }

  /** The process is gone. */
  forget(pid: number): void {
    const slot = this.#pids.indexOf(pid);
    if (slot >= 0) {
      this.#pids[slot] = -1;
      this.#gens[slot] = 0;
    }
  }

  /** The state. */
  save(): PcidSlotsRecord {
    return { pids: [...this.#pids], gens: [...this.#gens], next: this.#next };
  }

  /** Goes back to a saved state. */
  restore(record: PcidSlotsRecord): void {
    record.pids.forEach((pid, i) => (this.#pids[i] = pid));
    record.gens.forEach((gen, i) => (this.#gens[i] = gen));
    this.#next = record.next;
  }
}
