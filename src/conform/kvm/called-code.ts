// What a script's `exec` calls, executed: the bytes that scripts put into data pages (zeros, `h fill`, what the
// stubs store), as the processor runs them page after page until they return or fault. Of the one-byte opcodes
// of Intel SDM volume 2, appendix A.2: arithmetic and logic, push and pop, Jcc, NOP, STOS and RET.

import { DataError } from '../../core/errors.ts';

/** The memory of the guest, as its instructions see it. */
export interface CodeMemory {
  /** Whether to run an instruction again shows, though it changes nothing that the code sees. */
  changes(): boolean;
  /** Fetches an instruction, or (`rest`) what of it is in the next page; the bytes of the page, until the next access. */
  fetch(at: number, rest: boolean): Uint8Array;
  load(at: number, bytes: number): bigint;
  store(at: number, bytes: number, value: bigint): void;
}

/** The instruction is none: #UD, or #GP if it is too long. */
export class BadInstruction extends Error {
  readonly at: number;
  readonly rsp: number;
  readonly tooLong: boolean;

  constructor(at: number, rsp: number, tooLong: boolean) {
    super('not an instruction');
    this.at = at;
    this.rsp = rsp;
    this.tooLong = tooLong;
  }
}

/** Numbers of registers in instructions. */
const RAX = 0;
const RSP = 4;
const RBP = 5;
const RDI = 7;

const PAGE = 4096;
/** More than any script's code runs: it would run for ever. */
const MOST_INSTRUCTIONS = 1_000_000;

/** Longest instruction (SDM volume 3, 6.15, #GP). */
const MOST_BYTES = 15;
/** Opcodes that 64-bit mode lacks (SDM volume 2, table A-2: superscript i64), and the VEX and EVEX prefixes, which
 *  need CR4.OSXSAVE. */
const UNDEFINED = new Set([
  0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62, 0x82, 0x9a,
  0xc4, 0xc5, 0xce, 0xd4, 0xd5, 0xd6, 0xea,
]);
const OPERAND_SIZE = 0x66;
/** Addresses of 32 bits, which those that scripts make are anyway. */
const ADDRESS_SIZE = 0x67;
const JCC = 0x70;
const NOP = 0x90;
const STOS = 0xaa;
const RET = 0xc3;
const GROUP_5 = 0xff;
const CMP = 7;

interface Flags {
  readonly carry: boolean;
  readonly zero: boolean;
  readonly sign: boolean;
  readonly overflow: boolean;
  readonly parity: boolean;
}

const NO_FLAGS: Flags = {
  carry: false,
  zero: false,
  sign: false,
  overflow: false,
  parity: false,
};

/** Where an operand is: in a register or in memory. */
type Operand = { readonly register: number } | { readonly address: number };

/** A processor that runs called code. */
export class CalledCode {
  readonly #memory: CodeMemory;
  readonly #registers: bigint[];
  #flags = NO_FLAGS;
  /** Address of the instruction that runs, and of its next byte. */
  #from = 0;
  #at = 0;
  #page: Uint8Array = new Uint8Array(0);
  /** The instruction wrote something that was not there before. */
  #changed = false;

  constructor(memory: CodeMemory, rdi: number, rsp: number) {
    this.#memory = memory;
    this.#registers = Array.from({ length: 8 }, () => 0n);
    this.#registers[RDI] = BigInt(rdi);
    this.#registers[RSP] = BigInt(rsp);
  }

  get rax(): bigint {
    return this.#registers[RAX] as bigint;
  }

  /** Runs from an address until it comes to another one by RET. */
  run(from: number, until: number): void {
    let next = from;
    for (let i = 0; i < MOST_INSTRUCTIONS; i++) {
      const was = this.#flags;
      this.#changed = false;
      const returned = this.#step(next);
      if (returned && this.#at === until) return;
      const same = !this.#changed && !this.#memory.changes() && sameFlags(was, this.#flags);
      next = same ? this.#repeated(next) : this.#at;
    }
    throw new DataError('exec does not come to a ret');
  }

  /** What changed nothing changes nothing when it is done again: behind the same instruction in the same page. */
  #repeated(first: number): number {
    const bytes = this.#at - first;
    const offset = first % PAGE;
    if (bytes <= 0 || offset + bytes > PAGE) return this.#at;
    const page = this.#memory.fetch(first, false);
    const byte = (i: number): number => page[i] as number;
    let end = offset + bytes;
    while (end + bytes <= PAGE && allBelow(bytes, (i) => byte(end + i) === byte(offset + i)))
      end += bytes;
    return first - offset + end;
  }

  /** One instruction; whether it was a RET. */
  #step(at: number): boolean {
    this.#from = at;
    this.#at = at;
    this.#page = this.#memory.fetch(at, false);
    let size = 4;
    let opcode = this.#byte();
    while (opcode === OPERAND_SIZE || opcode === ADDRESS_SIZE) {
      if (opcode === OPERAND_SIZE) size = 2;
      opcode = this.#byte();
    }
    if (UNDEFINED.has(opcode)) throw this.#bad(false);
    if (opcode < 0x40 && (opcode & 7) < 6) this.#arithmetic(opcode, size);
    else if (opcode >> 3 === 0x50 >> 3) this.#push(this.#register(opcode & 7, 8));
    else if (opcode >> 3 === 0x58 >> 3) this.#set(opcode & 7, 8, this.#pop());
    else if (opcode >> 4 === JCC >> 4) this.#jump(opcode & 15);
    else if (opcode >> 1 === STOS >> 1) this.#storeString(opcode & 1 ? size : 1);
    else if (opcode === RET) this.#at = address(this.#pop());
    else if (opcode === GROUP_5 && (this.#byte() >> 3) % 8 === 7) throw this.#bad(false);
    else if (opcode !== NOP) {
      throw new DataError(`exec of byte 0x${opcode.toString(16)} is not emulated`);
    }
    return opcode === RET;
  }

  #bad(tooLong: boolean): BadInstruction {
    return new BadInstruction(this.#from, Number(this.#registers[RSP]), tooLong);
  }

  #byte(): number {
    const at = this.#at++;
    if (this.#at - this.#from > MOST_BYTES) throw this.#bad(true);
    if (at % PAGE === 0 && at !== this.#from) this.#page = this.#memory.fetch(at, true);
    return this.#page[at % PAGE] as number;
  }

  #immediate(bytes: number): bigint {
    let value = 0n;
    for (let i = 0; i < bytes; i++) value |= BigInt(this.#byte()) << BigInt(8 * i);
    return value;
  }

  /** The six forms of ADD, OR, ADC, SBB, AND, SUB, XOR and CMP: r/m and register, both ways, and immediate. */
  #arithmetic(opcode: number, operandSize: number): void {
    const size = opcode & 1 ? operandSize : 1;
    const form = (opcode & 7) >> 1;
    if (form === 2) {
      const immediate = this.#immediate(size);
      return this.#compute(opcode >> 3, size, { register: RAX }, immediate);
    }
    const { register, operand } = this.#modRm();
    if (form === 0)
      return this.#compute(opcode >> 3, size, operand, this.#register(register, size));
    this.#compute(opcode >> 3, size, { register }, this.#get(operand, size));
  }

  #compute(operation: number, size: number, to: Operand, source: bigint): void {
    const was = this.#get(to, size);
    const { value, flags } = arithmetic(operation, size, was, source, this.#flags.carry);
    if (operation !== CMP) this.#put(to, size, value, was);
    this.#flags = flags;
  }

  #jump(condition: number): void {
    const distance = BigInt.asIntN(8, this.#immediate(1));
    if (holds(condition, this.#flags)) this.#at += Number(distance);
  }

  #storeString(bytes: number): void {
    const at = this.#registers[RDI] as bigint;
    this.#memory.store(address(at), bytes, this.#register(RAX, bytes));
    this.#registers[RDI] = at + BigInt(bytes);
    this.#changed = true;
  }

  #push(value: bigint): void {
    const rsp = (this.#registers[RSP] as bigint) - 8n;
    this.#memory.store(address(rsp), 8, value);
    this.#registers[RSP] = rsp;
    this.#changed = true;
  }

  #pop(): bigint {
    const rsp = this.#registers[RSP] as bigint;
    const value = this.#memory.load(address(rsp), 8);
    this.#registers[RSP] = rsp + 8n;
    this.#changed = true;
    return value;
  }

  /** The ModR/M byte, its SIB byte and displacement (SDM volume 2, 2.1.5). */
  #modRm(): { register: number; operand: Operand } {
    const modRm = this.#byte();
    const mod = modRm >> 6;
    const register = (modRm >> 3) & 7;
    const rm = modRm & 7;
    if (mod === 3) return { register, operand: { register: rm } };
    const relative = mod === 0 && rm === RBP;
    let at = 0n;
    let absolute = false;
    if (rm === RSP) {
      const sib = this.#byte();
      absolute = mod === 0 && (sib & 7) === RBP;
      at = this.#indexed(sib, absolute);
    } else if (!relative) at = this.#registers[rm] as bigint;
    const bytes = relative || absolute || mod === 2 ? 4 : mod;
    at += BigInt.asIntN(8 * bytes, this.#immediate(bytes));
    if (relative) {
      at += BigInt(this.#at);
      // The same bytes mean another place elsewhere.
      this.#changed = true;
    }
    return { register, operand: { address: address(at) } };
  }

  #indexed(sib: number, withoutBase: boolean): bigint {
    const index = (sib >> 3) & 7;
    const scaled = index === RSP ? 0n : (this.#registers[index] as bigint) << BigInt(sib >> 6);
    return withoutBase ? scaled : scaled + (this.#registers[sib & 7] as bigint);
  }

  #get(operand: Operand, size: number): bigint {
    if ('register' in operand) return this.#register(operand.register, size);
    return this.#memory.load(operand.address, size);
  }

  #put(operand: Operand, size: number, value: bigint, was: bigint): void {
    if ('register' in operand) return this.#set(operand.register, size, value);
    this.#memory.store(operand.address, size, value);
    if (value !== was) this.#changed = true;
  }

  #register(number: number, size: number): bigint {
    if (size > 1 || number < 4) return BigInt.asUintN(8 * size, this.#registers[number] as bigint);
    // AH, CH, DH, BH.
    return BigInt.asUintN(8, (this.#registers[number - 4] as bigint) >> 8n);
  }

  /** A write of 32 bits clears those above, one of fewer leaves them (SDM volume 1, 3.4.1.1). */
  #set(number: number, size: number, value: bigint): void {
    const high = size === 1 && number >= 4;
    const to = high ? number - 4 : number;
    const shift = high ? 8n : 0n;
    const was = this.#registers[to] as bigint;
    const mask = ((1n << BigInt(8 * size)) - 1n) << shift;
    const set = size < 4 ? (was & ~mask) | (value << shift) : value;
    if (set !== was) this.#changed = true;
    this.#registers[to] = set;
  }
}

/** Scripts use addresses of 32 bits. */
function address(at: bigint): number {
  const place = BigInt.asUintN(64, at);
  if (place >> 32n !== 0n) throw new DataError(`exec reaches 0x${place.toString(16)}`);
  return Number(place);
}

function allBelow(count: number, holdsFor: (i: number) => boolean): boolean {
  for (let i = 0; i < count; i++) if (!holdsFor(i)) return false;
  return true;
}

function sameFlags(a: Flags, b: Flags): boolean {
  return (
    a.carry === b.carry &&
    a.zero === b.zero &&
    a.sign === b.sign &&
    a.overflow === b.overflow &&
    a.parity === b.parity
  );
}

/** SDM volume 2, appendix B.1.4: conditions in pairs, the odd one is the opposite. */
function holds(condition: number, flags: Flags): boolean {
  const { carry, zero, sign, overflow, parity } = flags;
  const less = sign !== overflow;
  const even = [overflow, carry, zero, carry || zero, sign, parity, less, zero || less];
  return (even[condition >> 1] as boolean) !== ((condition & 1) === 1);
}

/** One of the eight operations, by its number in the opcode. */
function arithmetic(
  operation: number,
  size: number,
  a: bigint,
  b: bigint,
  carryIn: boolean,
): { value: bigint; flags: Flags } {
  const bits = 8 * size;
  const borrow = carryIn ? 1n : 0n;
  const exact = [a + b, a | b, a + b + borrow, a - b - borrow, a & b, a - b, a ^ b, a - b][
    operation
  ] as bigint;
  const value = BigInt.asUintN(bits, exact);
  const sign = (x: bigint): boolean => ((x >> BigInt(bits - 1)) & 1n) === 1n;
  const logic = operation === 1 || operation === 4 || operation === 6;
  const adds = operation === 0 || operation === 2;
  const operandsAlike = sign(a) === sign(b);
  const flags = {
    carry: !logic && exact !== value,
    zero: value === 0n,
    sign: sign(value),
    overflow: !logic && operandsAlike === adds && sign(value) !== sign(a),
    parity: isEven(value),
  };
  return { value, flags };
}

/** PF: the low byte has an even number of ones. */
function isEven(value: bigint): boolean {
  let ones = 0;
  for (let low = Number(value & 0xffn); low !== 0; low &= low - 1) ones++;
  return ones % 2 === 0;
}
