// One run of a stub of the driver, instruction by instruction: what each does to memory, and what the
// driver is told when an access leaves the guest. Which instructions a stub has is in guest.ts.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
} from '../../../assembly/abi.ts';
import { DataError } from '../../core/errors.ts';
import { CalledCode, type CodeMemory } from './called-code.ts';
import type { AccessOutcome, GuestPort, Store } from './guest-port.ts';
import { CODE_GFN, INFRA_PAGES, STUB } from './layout.ts';
import type { JsonObject } from './recording.ts';
import type { Gva, Pte } from './script.ts';

export const SUPERVISOR_STACK = { vpn: 4, offset: 0xef8 };
const USER_STACK = { vpn: 3, offset: 0xfe8 };
/** Below are the driver's descriptor tables and stubs, in pages 1 to 3. */
const OWN_STACKS = 0x3800;
/** The driver runs the vCPU at most so often for one operation. */
const MAX_RUNS = 8;
/** Bytes of the stubs' instructions that access memory: a load of a byte, and all others. */
const LOAD_BYTES = 2;
const WIDE_BYTES = 3;
/** What the driver answers to MMIO reads. */
const MMIO_ANSWER = 0x5a;
const PAGE = 4096;

/** An access did not complete, and with it the stub. */
export class Ended extends Error {
  readonly outcome: AccessOutcome;
  readonly gva: Gva;

  constructor(outcome: AccessOutcome, gva: Gva) {
    super('the instruction did not complete');
    this.outcome = outcome;
    this.gva = gva;
  }
}

/** An instruction whose read waits for an answer. */
export type Reading = 'load' | 'exchange';

/** The driver has given the operation up. */
export class Abandoned extends Error {
  /** What waits for an answer: a read of a loop, or of an exchange. */
  readonly reading: Reading | null;

  constructor(reading: Reading | null) {
    super('the driver runs the vCPU no more');
    this.reading = reading;
  }
}

function crosses(gva: Gva, bytes: number): boolean {
  return gva.offset + bytes > PAGE;
}

function gvaOf(at: number): Gva {
  return { vpn: Math.floor(at / PAGE), offset: at % PAGE };
}

function nextPage(gva: Gva): Gva {
  return { vpn: gva.vpn + 1, offset: 0 };
}

function storeOf(bytes: number, value: bigint): Store {
  const word = (shift: bigint): number => Number((value >> shift) & 0xffffffffn);
  return { bytes, lo: word(0n), hi: word(32n) };
}

/** One run of a stub. */
export class StubRun {
  readonly #port: GuestPort;
  readonly #cpl: number;
  readonly results: JsonObject[] = [];
  #rax = 0n;
  /** Where in the stubs' page the instruction that runs is. */
  #rip = 0;
  /** KVM runs the instruction of the called code, not the processor. */
  #emulated = false;
  #mmioExits = 0;

  constructor(port: GuestPort, user: boolean) {
    this.#port = port;
    this.#cpl = user ? 0 : ACCESS_SUPERVISOR;
  }

  /** Whether KVM has fetched the instruction that ran last. */
  get emulated(): boolean {
    return this.#emulated;
  }

  /** Answers what the VMM is asked. Whether the instruction is over, or runs again. */
  #check(outcome: AccessOutcome, gva: Gva, bytes: number, reading: Reading = 'load'): boolean {
    let now = outcome;
    while (now.kind === 'mmio') {
      const gpa = `0x${now.gpa.toString(16)}`;
      this.results.push({ mmio: true, gpa, len: String(bytes), write: now.write ? '1' : '0' });
      if (++this.#mmioExits === MAX_RUNS) throw new Abandoned(now.write ? null : reading);
      now = this.#port.completeRead(this.#cpl);
    }
    if (now.kind === 'again') return false;
    if (now.kind !== 'done') throw new Ended(now, gva);
    return true;
  }

  fetch(offset: number): void {
    this.#rip = offset;
    const gva = { vpn: CODE_GFN, offset };
    this.#check(this.#port.access(CODE_GFN, offset, ACCESS_FETCH | this.#cpl, 1, null), gva, 1);
  }

  /** A load, and the fetch of the instruction behind it, which may be out of reach if KVM emulated the load. */
  load(gva: Gva, bytes: number): void {
    this.#load(gva, bytes);
    this.fetch(this.#rip + (bytes === 1 ? LOAD_BYTES : WIDE_BYTES));
  }

  #load(gva: Gva, bytes: number): void {
    if (crosses(gva, bytes)) {
      this.#rax = this.#loadInSlots(gva, bytes);
      return;
    }
    const outcome = this.#port.access(gva.vpn, gva.offset, ACCESS_READ | this.#cpl, bytes, null);
    this.#check(outcome, gva, bytes);
    if (outcome.kind === 'mmio') this.#rax = filled(outcome.value, bytes);
    else this.#rax = this.#port.loaded(bytes);
  }

  /** The answer to the MMIO read of a loop that was given up arrives. */
  answered(): void {
    this.#port.completeRead(this.#cpl);
    this.#rax = filled(MMIO_ANSWER, 1);
    this.fetch(STUB.reads + 2);
  }

  store(gva: Gva, bytes: number, value: Pte): void {
    this.#store(gva, bytes, value);
    this.fetch(this.#rip + WIDE_BYTES);
  }

  #store(gva: Gva, bytes: number, value: Pte): void {
    if (crosses(gva, bytes)) {
      const whole = (BigInt(value.hi >>> 0) << 32n) | BigInt(value.lo >>> 0);
      return this.#storeInSlots(gva, bytes, whole);
    }
    const flags = ACCESS_WRITE | this.#cpl;
    const store = { bytes, lo: value.lo, hi: value.hi };
    this.#check(this.#port.access(gva.vpn, gva.offset, flags, bytes, store), gva, bytes);
  }

  #loadInSlots(gva: Gva, bytes: number): bigint {
    if (!crosses(gva, bytes)) {
      this.#inSlots(gva, ACCESS_READ, bytes, null);
      return this.#port.loaded(bytes);
    }
    const first = PAGE - gva.offset;
    const low = this.#loadInSlots(gva, first);
    return low | (this.#loadInSlots(nextPage(gva), bytes - first) << BigInt(8 * first));
  }

  /** Both pages are translated before anything is written. */
  #storeInSlots(gva: Gva, bytes: number, value: bigint): void {
    const first = Math.min(bytes, PAGE - gva.offset);
    if (first < bytes) {
      this.#inSlots(gva, ACCESS_WRITE, first, null);
      this.#storeInSlots(nextPage(gva), bytes - first, value >> BigInt(8 * first));
    }
    this.#inSlots(gva, ACCESS_WRITE, first, storeOf(first, value));
  }

  /** An access whose emulation by KVM, should it be outside all slots, is not known here. */
  #inSlots(gva: Gva, flags: number, bytes: number, store: Store | null): AccessOutcome {
    const how = this.#emulated ? 'operand' : 'access';
    const outcome = this.#port[how](gva.vpn, gva.offset, flags | this.#cpl, bytes, store);
    if (outcome.kind === 'mmio') {
      throw new DataError('an operand in two pages, or of exec, is outside all slots');
    }
    this.#check(outcome, gva, bytes);
    return outcome;
  }

  /** The answer to the MMIO read of an exchange that was given up arrives; if it runs again, then at `gva`. */
  exchanged(gva: Gva): void {
    if (!this.#check(this.#port.completeRead(this.#cpl), gva, 1, 'exchange')) this.increment(gva);
  }

  /** `lock inc`: one access that reads and writes. */
  increment(gva: Gva): void {
    this.fetch(STUB.lock);
    const outcome = this.#port.readModifyWrite(gva.vpn, gva.offset, ACCESS_WRITE | this.#cpl);
    if (!this.#check(outcome, gva, 1, 'exchange')) return this.increment(gva);
    if (outcome.kind !== 'done' || outcome.emulated) return this.fetch(STUB.lock + WIDE_BYTES);
    const old = Number(this.#port.loaded(1));
    this.store(gva, 1, { lo: (old + 1) & 0xff, hi: 0 });
  }

  call(gva: Gva): void {
    const stack = this.#cpl ? SUPERVISOR_STACK : USER_STACK;
    const returnTo = CODE_GFN * PAGE + STUB.exec + 2;
    this.#storeInSlots(stack, 8, BigInt(returnTo));
    const target = gva.vpn * PAGE + gva.offset;
    const code = new CalledCode(this.#memory(), target, stack.vpn * PAGE + stack.offset);
    code.run(target, returnTo);
    this.#rax = code.rax;
    this.fetch(STUB.exec + 2);
  }

  /** The guest's memory for code in data pages, whose operands must lie in slots. */
  #memory(): CodeMemory {
    return {
      changes: () => this.#emulated,
      fetch: (at, rest) => {
        if (!rest) this.#emulated = false;
        const outcome = this.#inSlots(gvaOf(at), ACCESS_FETCH, 1, null);
        if (!rest) this.#emulated = outcome.kind === 'done' && outcome.emulated === true;
        if (at >= CODE_GFN * PAGE && at < INFRA_PAGES * PAGE) {
          throw new DataError("exec comes to the driver's own code");
        }
        return this.#port.page();
      },
      load: (at, bytes) => this.#loadInSlots(gvaOf(at), bytes),
      store: (at, bytes, value) => {
        if (at >= PAGE && at < OWN_STACKS)
          throw new DataError("exec writes over the driver's code");
        this.#storeInSlots(gvaOf(at), bytes, value);
      },
    };
  }

  check(outcome: AccessOutcome): void {
    this.#check(outcome, { vpn: 0, offset: 0 }, 0);
  }

  done(): void {
    this.#port.ioExit();
    this.results.push({ ok: true, rax: `0x${this.#rax.toString(16)}` });
  }
}

/** A value whose bytes are all the same. */
function filled(value: number, bytes: number): bigint {
  return BigInt(`0x${value.toString(16).padStart(2, '0').repeat(bytes)}`);
}
