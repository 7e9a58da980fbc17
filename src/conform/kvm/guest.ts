// The guest of a recording: the instructions of each stub of the driver (stub-run.ts executes them), and
// what the processor does when it delivers a #PF.

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
} from '../../../assembly/abi.ts';
import { DataError } from '../../core/errors.ts';
import { BadInstruction } from './called-code.ts';
import type { AccessOutcome, Exception, GuestPort } from './guest-port.ts';
import { CODE_GFN, gvaName, pfecText, STUB, TABLES } from './layout.ts';
import type { JsonObject } from './recording.ts';
import { directory, leafTable, parseGva, parseNumber, parsePte, parseWord } from './script.ts';
import type { Gva, Pte } from './script.ts';
import { Abandoned, Ended, StubRun, SUPERVISOR_STACK, type Reading } from './stub-run.ts';
import { GP_VECTOR, PF_VECTOR, UD_VECTOR } from './tracepoint-words.ts';

const CR0_WP1 = 0x80050033;
const CR0_WP0 = 0x80040033;
const EXCEPTION_STACK = { vpn: 4, offset: 0xfe8 };
/** Stack pointer of the TSS, for exceptions of CPL 3. */
const EXCEPTION_RSP = 0x4ff0;
/** Words of an exception's frame, without an error code. */
const FRAME_WORDS = 5;
const UNDEFINED_OPCODE: Exception = { vector: UD_VECTOR, code: null, byKvm: true };
/** An instruction of more bytes than there are in one: #GP(0), which KVM does not intercept. */
const TOO_LONG: Exception = { vector: GP_VECTOR, code: 0, byKvm: false };
/** Port of the handler of all exceptions but #PF, as the driver prints it. */
const BAD_PORT = '0xf2';
const IDT_VPN = 2;
const GDT_VPN = 1;
const IDT_GATE = 16;
const GDT_CS_OFFSET = 8;

/** Iterations of a stub's loop that is not meant to end. */
const FOREVER = 100_000;

function table(gfn: number, index: number): Gva {
  return { vpn: gfn, offset: index * 8 };
}

function byte(value: number): Pte {
  return { lo: value & 0xff, hi: 0 };
}

/** The body of each stub; `words` are the operation's. */
function runStub(run: StubRun, op: string, words: readonly string[], port: GuestPort): void {
  const arg = (i: number, fallback: number): number =>
    words[i] === undefined ? fallback : parseNumber(words[i]);
  const gva = (): Gva => parseGva(words[1] ?? '');
  switch (op) {
    case 'read':
    case 'read8':
      run.fetch(STUB[op]);
      return run.load(gva(), op === 'read' ? 1 : 8);
    case 'write':
    case 'write8':
      run.fetch(STUB[op]);
      return run.store(
        gva(),
        op === 'write' ? 1 : 8,
        op === 'write' ? byte(arg(2, 0x77)) : parseWord(words[2] ?? '0x77'),
      );
    case 'rw':
      run.fetch(STUB.rw);
      run.load(gva(), 1);
      return run.store(gva(), 1, byte(0x66));
    case 'lock':
      return run.increment(gva());
    case 'exec':
      run.fetch(STUB.exec);
      return run.call(gva());
    case 'reads':
    case 'writes':
      return runLoop(run, op, gva(), arg(2, 0), arg(3, 1));
    case 'invlpg':
      run.fetch(STUB.invlpg);
      run.check(port.invlpg(gva().vpn, gva().offset));
      return run.fetch(STUB.invlpg + 3);
    case 'cr3':
      run.fetch(STUB.cr3);
      run.check(port.cr3(words[1] === 'B' ? TABLES.B_PML4 : TABLES.A_PML4));
      return run.fetch(STUB.cr3 + 3);
    case 'wp':
    case 'cr0':
      run.fetch(STUB.cr0);
      run.check(port.cr0(op === 'cr0' ? arg(1, 0) : words[1] === '0' ? CR0_WP0 : CR0_WP1));
      return run.fetch(STUB.cr0 + 3);
    case 'cr4':
      run.fetch(STUB.cr4);
      run.check(port.cr4(arg(1, 0)));
      return run.fetch(STUB.cr4 + 3);
    case 'nop':
      return run.fetch(STUB.nop);
    default:
      return runTableStub(run, op, words);
  }
}

function runTableStub(run: StubRun, op: string, words: readonly string[]): void {
  const [, space, indexText] = words as [string, string, string];
  const index = parseNumber(indexText);
  if (op === 'setpde') {
    run.fetch(STUB.write8);
    return run.store(table(directory(space), index), 8, parsePte(words[3] ?? '', words[4]));
  }
  const at = leafTable(space, index);
  if (op === 'getpte') {
    run.fetch(STUB.read8);
    return run.load(table(at.table, at.index), 8);
  }
  run.fetch(STUB.write8);
  return run.store(table(at.table, at.index), 8, parsePte(words[3] ?? '', words[4] ?? '0'));
}

function runLoop(
  run: StubRun,
  op: 'reads' | 'writes',
  from: Gva,
  count: number,
  stride: number,
): void {
  for (let i = 0; i < count; i++) {
    run.fetch(STUB[op]);
    const gva = { vpn: from.vpn + i * stride, offset: from.offset };
    if (op === 'reads') run.load(gva, 1);
    else run.store(gva, 1, { lo: 0x55, hi: 0 });
  }
}

/** The processor delivers an exception: gate, segment, from CPL 3 the stack's address in the TSS (in the page
 *  of the segment), stack, then the handler runs to its I/O exit; that of #PF takes the error code first. */
function deliver(port: GuestPort, exception: Exception, user: boolean): AccessOutcome {
  const { vector } = exception;
  const implicit = ACCESS_SUPERVISOR | ACCESS_IMPLICIT;
  const stack = user ? EXCEPTION_STACK : SUPERVISOR_STACK;
  const steps: [number, number, number][] = [
    [IDT_VPN, vector * IDT_GATE, ACCESS_READ | implicit],
    [GDT_VPN, GDT_CS_OFFSET, ACCESS_READ | implicit],
    [stack.vpn, stack.offset, ACCESS_WRITE | implicit],
    [CODE_GFN, vector === PF_VECTOR ? STUB.pf : STUB.bad, ACCESS_FETCH | ACCESS_SUPERVISOR],
  ];
  if (vector === PF_VECTOR) steps.push([stack.vpn, stack.offset, ACCESS_READ | ACCESS_SUPERVISOR]);
  port.delivering(exception);
  for (const [i, [vpn, offset, flags]] of steps.entries()) {
    if (i === 3) port.delivering(null);
    const outcome = port.access(vpn, offset, flags, 1, null);
    if (outcome.kind !== 'done') {
      port.delivering(null);
      return outcome;
    }
  }
  return { kind: 'done' };
}

/**
 * KVM finishes an unanswered read before anything else (complete_emulated_mmio), and with it goes back to
 * where that read was: the loop `reads` goes on, with the new operation's registers.
 */
function resumeLoop(run: StubRun, op: string, words: readonly string[]): void {
  run.answered();
  const loops = op === 'reads' || op === 'writes';
  const from = parseGva(words[1] ?? '');
  if (Number.isNaN(from.vpn)) throw new DataError(`the guest loops for ever in '${op}'`);
  const count = loops ? parseNumber(words[2] ?? '0') : FOREVER;
  const stride = loops ? parseNumber(words[3] ?? '1') : 0;
  const next = { vpn: from.vpn + stride, offset: from.offset };
  if (count > 1) runLoop(run, 'reads', next, count - 1, stride);
  if (!loops) throw new DataError(`the guest loops for ever at page ${from.vpn}`);
}

/** The same where the read was an exchange's; one that fails runs again, with the new operation's registers. */
function resumeExchange(run: StubRun, words: readonly string[]): void {
  const gva = parseGva(words[1] ?? '');
  if (Number.isNaN(gva.vpn)) throw new DataError('the guest exchanges for ever at no page');
  run.exchanged(gva);
}

/** KVM_EXIT_INTERNAL_ERROR, and KVM_INTERNAL_ERROR_EMULATION, as the driver prints them. */
const EXIT_INTERNAL_ERROR = '17';
const INTERNAL_ERROR_EMULATION = '1';

/** A guest operation of a script. */
export class RecordedGuest {
  readonly #port: GuestPort;
  /** An MMIO read that was given up waits for its answer. */
  #reading: Reading | null = null;

  constructor(port: GuestPort) {
    this.#port = port;
  }

  /** Runs an operation (`read 3`, `uwrite 4`, …) and returns its results. */
  run(words: readonly string[]): JsonObject[] {
    const [name] = words as [string];
    const user = name.length > 1 && name.startsWith('u');
    return this.#run(user ? name.slice(1) : name, words, user);
  }

  /** A read at any address, as the warm-up makes one. */
  readAt(gva: number): JsonObject[] {
    return this.#run('read', ['read', `0x${gva.toString(16)}`], false);
  }

  #run(op: string, words: readonly string[], user: boolean): JsonObject[] {
    const run = new StubRun(this.#port, user);
    try {
      const resumed = this.#reading;
      this.#reading = null;
      if (resumed === 'exchange') resumeExchange(run, words);
      else if (resumed === 'load') resumeLoop(run, op, words);
      else runStub(run, op, words, this.#port);
      run.done();
    } catch (ended) {
      if (ended instanceof Abandoned) {
        this.#reading = ended.reading;
        run.results.push({ 'too-many-exits': true });
      } else if (ended instanceof Ended) run.results.push(this.#end(ended, user));
      else if (ended instanceof BadInstruction)
        run.results.push(this.#notExecuted(ended, user, run.emulated));
      else throw ended;
    }
    return run.results;
  }

  #end(ended: Ended, user: boolean): JsonObject {
    const { outcome, gva } = ended;
    if (outcome.kind === 'error') return { err: outcome.errno };
    if (outcome.kind === 'unhandled') {
      if (user) return this.#badInstruction(UNDEFINED_OPCODE, EXCEPTION_RSP, true);
      return { exit: EXIT_INTERNAL_ERROR, suberr: INTERNAL_ERROR_EMULATION };
    }
    if (outcome.kind !== 'fault') throw new Error('an access ended without a reason');
    const { code } = outcome;
    const delivered = deliver(this.#port, { vector: PF_VECTOR, code }, user);
    if (delivered.kind === 'error') return { err: delivered.errno };
    this.#port.ioExit();
    const fault = gvaName(gva.vpn, gva.offset);
    return { guest_fault: fault, code, bits: pfecText(code) };
  }

  /** The processor does not know an instruction: KVM looks at it, if it has not yet; one that is too long it does not show. */
  #notExecuted(bad: BadInstruction, user: boolean, emulated: boolean): JsonObject {
    const { at, tooLong } = bad;
    if (!tooLong && !emulated) this.#port.undefinedOpcode(Math.floor(at / 4096), at % 4096);
    const exception = tooLong ? TOO_LONG : UNDEFINED_OPCODE;
    return this.#badInstruction(exception, user ? EXCEPTION_RSP : bad.rsp, user);
  }

  /** The handler of whatever is no #PF leaves through a port of its own. */
  #badInstruction(exception: Exception, rsp: number, user: boolean): JsonObject {
    const delivered = deliver(this.#port, exception, user);
    if (delivered.kind === 'error') return { err: delivered.errno };
    this.#port.ioExit();
    const words = FRAME_WORDS + (exception.code === null ? 0 : 1);
    const frame = rsp - (rsp % 16) - words * 8;
    return { exception: true, port: BAD_PORT, rsp: `0x${frame.toString(16)}` };
  }
}
