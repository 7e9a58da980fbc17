// One run of a stub of the driver, instruction by instruction: what each does to memory, and what the
// driver is told when an access leaves the guest. Which instructions a stub has is in guest.ts.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
} from '../../../assembly/abi.ts';
import { DataError } from '../../core/errors.ts';
import type { AccessOutcome, GuestPort } from './guest-port.ts';
import { CODE_GFN, STUB } from './layout.ts';
import type { JsonObject } from './recording.ts';
import type { Gva, Pte } from './script.ts';

export const SUPERVISOR_STACK = { vpn: 4, offset: 0xef8 };
const USER_STACK = { vpn: 3, offset: 0xfe8 };
/** The driver runs the vCPU at most so often for one operation. */
const MAX_RUNS = 8;
/** What the driver answers to MMIO reads. */
const MMIO_ANSWER = 0x5a;

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

/** The driver has given the operation up. */
export class Abandoned extends Error {
  /** Whether a read waits for an answer. */
  readonly reading: boolean;

  constructor(reading: boolean) {
    super('the driver runs the vCPU no more');
    this.reading = reading;
  }
}

function hex(lo: number, hi: number): string {
  return `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
}

/** One run of a stub. */
export class StubRun {
  readonly #port: GuestPort;
  readonly #cpl: number;
  readonly results: JsonObject[] = [];
  #rax: Pte = { lo: 0, hi: 0 };
  #mmioExits = 0;

  constructor(port: GuestPort, user: boolean) {
    this.#port = port;
    this.#cpl = user ? 0 : ACCESS_SUPERVISOR;
  }

  #check(outcome: AccessOutcome, gva: Gva, bytes: number): void {
    if (outcome.kind === 'mmio') {
      const gpa = `0x${outcome.gpa.toString(16)}`;
      this.results.push({ mmio: true, gpa, len: String(bytes), write: outcome.write ? '1' : '0' });
      if (++this.#mmioExits === MAX_RUNS) throw new Abandoned(!outcome.write);
      this.#port.completeRead();
    } else if (outcome.kind !== 'done') throw new Ended(outcome, gva);
  }

  fetch(offset: number): void {
    const gva = { vpn: CODE_GFN, offset };
    this.#check(this.#port.access(CODE_GFN, offset, ACCESS_FETCH | this.#cpl, 1, null), gva, 1);
  }

  load(gva: Gva, bytes: number): void {
    const outcome = this.#port.access(gva.vpn, gva.offset, ACCESS_READ | this.#cpl, bytes, null);
    this.#check(outcome, gva, bytes);
    if (outcome.kind === 'mmio') this.#rax = filled(outcome.value, bytes);
    else this.#rax = this.#port.loaded(bytes);
  }

  /** The answer to the MMIO read of a loop that was given up arrives. */
  answered(): void {
    this.#port.completeRead();
    this.#rax = filled(MMIO_ANSWER, 1);
    this.fetch(STUB.reads + 2);
  }

  store(gva: Gva, bytes: number, value: Pte): void {
    const store = { bytes, lo: value.lo, hi: value.hi };
    const flags = ACCESS_WRITE | this.#cpl;
    this.#check(this.#port.access(gva.vpn, gva.offset, flags, bytes, store), gva, bytes);
  }

  /** `lock inc`: one access that reads and writes. */
  increment(gva: Gva): void {
    const outcome = this.#port.readModifyWrite(gva.vpn, gva.offset, ACCESS_WRITE | this.#cpl);
    this.#check(outcome, gva, 1);
    if (outcome.kind === 'mmio') {
      if (outcome.stored !== undefined) this.#check(outcome.stored, gva, 1);
      return;
    }
    if (outcome.kind === 'done' && outcome.emulated) return;
    const old = this.#port.loaded(1).lo;
    this.store(gva, 1, { lo: (old + 1) & 0xff, hi: 0 });
  }

  call(gva: Gva): void {
    const stack = this.#cpl ? SUPERVISOR_STACK : USER_STACK;
    this.store(stack, 8, { lo: CODE_GFN * 4096 + STUB.exec + 2, hi: 0 });
    this.#until(gva);
    const rax = this.#rax;
    this.load(stack, 8);
    this.#rax = rax;
    this.fetch(STUB.exec + 2);
  }

  /** Runs what was called to its `ret`. */
  #until(from: Gva): void {
    let at = from.vpn * 4096 + from.offset;
    for (let steps = 0; steps < 64; steps++) {
      const opcode = this.#fetchByte(at);
      if (opcode === 0xc3) return;
      // `ja rel8`: CF and ZF are clear, so it is taken.
      if (opcode !== 0x77) {
        throw new DataError(`exec of byte 0x${opcode.toString(16)} is not emulated`);
      }
      const distance = this.#fetchByte(at + 1);
      at += 2 + (distance < 128 ? distance : distance - 256);
    }
    throw new DataError('exec does not come to a ret');
  }

  #fetchByte(at: number): number {
    const gva = { vpn: Math.floor(at / 4096), offset: at % 4096 };
    const outcome = this.#port.access(gva.vpn, gva.offset, ACCESS_FETCH | this.#cpl, 1, null);
    this.#check(outcome, gva, 1);
    return this.#port.loaded(1).lo & 0xff;
  }

  check(outcome: AccessOutcome): void {
    this.#check(outcome, { vpn: 0, offset: 0 }, 0);
  }

  done(): void {
    this.#port.ioExit();
    this.results.push({ ok: true, rax: hex(this.#rax.lo, this.#rax.hi) });
  }
}

/** A value whose bytes are all the same. */
function filled(value: number, bytes: number): Pte {
  if (bytes === 1) return { lo: value, hi: 0 };
  const word = (value * 0x01010101) >>> 0;
  return { lo: word, hi: word };
}
