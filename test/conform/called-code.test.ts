// The bytes that a script calls, by the Intel SDM: volume 2 (opcodes, ModR/M), volume 1 3.4.3 (flags).
import { describe, expect, test } from 'vitest';
import { BadInstruction, CalledCode } from '../../src/conform/kvm/called-code.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';
import { runOnEmulator } from '../../src/conform/kvm/fuzz.ts';

const CODE = 0x40000000;
const STACK = 0x4ef8;
const BACK = 0x3015;

/** Two pages of code, one of data at 0 and one of stack; what is stored is noted. */
function machine(code: readonly number[], offset = 0) {
  const pages = new Map<number, Uint8Array>();
  const page = (at: number): Uint8Array => {
    const number = Math.floor(at / 4096);
    const found = pages.get(number) ?? new Uint8Array(4096);
    pages.set(number, found);
    return found;
  };
  const byte = (at: number): number => page(at)[at % 4096] as number;
  const stores: string[] = [];
  const fetched = new Set<number>();
  for (const [i, value] of code.entries()) page(CODE + offset + i)[(offset + i) % 4096] = value;
  const memory = {
    changes: () => false,
    fetch(at: number) {
      fetched.add(Math.floor(at / 4096));
      return page(at);
    },
    load(at: number, bytes: number) {
      let value = 0n;
      for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(byte(at + i));
      return value;
    },
    store(at: number, bytes: number, value: bigint) {
      stores.push(`${at.toString(16)}:${bytes}=${value.toString(16)}`);
      for (let i = 0; i < bytes; i++) {
        page(at + i)[(at + i) % 4096] = Number((value >> BigInt(8 * i)) & 0xffn);
      }
    },
  };
  memory.store(STACK, 8, BigInt(BACK));
  stores.length = 0;
  const run = new CalledCode(memory, CODE + offset, STACK);
  return { run, page, stores, fetched, go: () => run.run(CODE + offset, BACK) };
}

test('ret alone', () => {
  const { run, stores, go } = machine([0xc3]);
  go();
  expect([run.rax, stores]).toEqual([0n, []]);
});

test('zeros add AL to the byte at RAX, through the page and into the next', () => {
  const { go, stores, fetched, page } = machine([]);
  page(CODE + 4096)[6] = 0xc3;
  go();
  // Done again where nothing changes, it need not be done at all; the first leaves other flags.
  expect(new Set(stores)).toEqual(new Set(['0:1=0']));
  expect(fetched.size).toBe(2);
});

test('an instruction in two pages', () => {
  // add al, 7; ret: the immediate is in the second page.
  const { run, go } = machine([0x04, 0x07, 0xc3], 4095);
  go();
  expect(run.rax).toBe(7n);
});

describe('arithmetic', () => {
  test.each<[string, number[], bigint]>([
    ['add al, imm8 wraps within AL', [0x04, 0xff, 0x04, 0x02], 1n],
    ['add eax, imm32', [0x05, 0x78, 0x56, 0x34, 0x12], 0x12345678n],
    ['add ax, imm16 leaves the rest', [0x05, 1, 0, 0, 0x80, 0x66, 0x05, 0xff, 0xff], 0x80000000n],
    ['sub borrows, adc takes the carry', [0x2c, 0x01, 0x14, 0x00], 0n],
    ['sbb takes it too', [0x2c, 0x01, 0x1c, 0x00], 0xfen],
    ['or, and, xor', [0x0c, 0xf0, 0x24, 0x3c, 0x34, 0x0f], 0x3fn],
    ['cmp writes nothing', [0x04, 0x05, 0x3c, 0x05], 5n],
    ['add ah, al is the second byte', [0x04, 0x03, 0x00, 0xc4], 0x303n],
    ['a result of 32 bits clears what is above', [0x05, 0, 0, 0, 0x80, 0x01, 0xc0], 0n],
  ])('%s', (_, code, rax) => {
    const { run, go } = machine([...code, 0xc3]);
    go();
    expect(run.rax).toBe(rax);
  });
});

describe('conditions', () => {
  const flags: [string, number[], string][] = [
    ['nothing set', [], ''],
    ['carry and sign: 0 - 1', [0x2c, 0x01], 'CSP'],
    ['zero: 0 + 0', [0x04, 0x00], 'ZP'],
    ['overflow: 0x7f + 1', [0x04, 0x3f, 0x04, 0x3f, 0x04, 0x01, 0x04, 0x01], 'SO'],
    ['overflow of a difference: 0x80 - 1', [0x34, 0x80, 0x2c, 0x01], 'O'],
  ];
  test.each(flags)('%s', (_, before, set) => {
    const has = (flag: string): boolean => set.includes(flag);
    const less = has('S') !== has('O');
    const even = [has('O'), has('C'), has('Z'), has('C') || has('Z'), has('S'), has('P'), less];
    const expected = [...even, has('Z') || less].flatMap((holds) => [holds, !holds]);
    // The jump leads to where bit 6 is set; both ways clear it first.
    const seen = expected.map((_, i) => {
      const clear = [0x24, 0x3f];
      const code = [...before, 0x70 + i, 0x03, ...clear, 0xc3, ...clear, 0x04, 0x40, 0xc3];
      const { run, go } = machine(code);
      go();
      return (run.rax & 0x40n) !== 0n;
    });
    expect(seen).toEqual(expected);
  });

  test('backwards', () => {
    // ja over the part that ends, xor al, 0, jz back to it.
    const { run, go } = machine([0x77, 0x03, 0x04, 0x07, 0xc3, 0x34, 0x00, 0x74, 0xf9]);
    go();
    expect(run.rax).toBe(7n);
  });
});

describe('addresses', () => {
  test.each<[string, number[], string[]]>([
    ['[rdi]', [0x04, 0x09, 0x00, 0x07, 0xc3], ['40000000:1=d']],
    ['[rdi + disp8]', [0x04, 0x09, 0x00, 0x47, 0x20, 0xc3], ['40000020:1=9']],
    ['[rdi + disp32]', [0x04, 0x09, 0x00, 0x87, 0, 0x10, 0, 0, 0xc3], ['40001000:1=9']],
    ['[rip + disp32]', [0x04, 0x09, 0x00, 0x05, 0x10, 0, 0, 0, 0xc3], ['40000018:1=9']],
    ['[rdi + rax * 2]', [0x04, 0x20, 0x00, 0x04, 0x47, 0xc3], ['40000040:1=20']],
    ['[disp32] by SIB', [0x04, 0x09, 0x00, 0x04, 0x25, 0, 1, 0, 0, 0xc3], ['100:1=9']],
    ['stos', [0x04, 0x09, 0xaa, 0x66, 0xab, 0xc3], ['40000000:1=9', '40000001:2=9']],
    ['push and pop', [0x57, 0x58, 0xc3], ['4ef0:8=40000000']],
  ])('%s', (_, code, expected) => {
    const { stores, go } = machine(code);
    go();
    expect(stores).toEqual(expected);
  });

  test('a repeated instruction whose operand moves with it is done each time', () => {
    // add [rip + 0x100], al
    const add = [0x00, 0x05, 0x00, 0x01, 0x00, 0x00];
    const { stores, go } = machine([...add, ...add, ...add, 0xc3]);
    go();
    expect(stores).toEqual(['40000106:1=0', '4000010c:1=0', '40000112:1=0']);
  });
});

describe('no instruction', () => {
  test.each<[string, number[], boolean, number]>([
    ['0xff /7', [0x90, 0xff, 0xff], false, CODE + 1],
    ['one that 64-bit mode lacks', [0x06], false, CODE],
    ['VEX without CR4.OSXSAVE', [0xc4], false, CODE],
    ['more than 15 bytes', Array<number>(16).fill(0x66), true, CODE],
  ])('%s', (_, code, tooLong, at) => {
    const { go } = machine(code);
    expect(go).toThrow(BadInstruction);
    expect(() => go()).toThrow(expect.objectContaining({ tooLong, at, rsp: STACK }));
  });

  test('14 prefixes are not too many', () => {
    const { run, go } = machine([...Array<number>(12).fill(0x66), 0x05, 0x01, 0x00, 0xc3]);
    go();
    expect(run.rax).toBe(1n);
  });

  test('what is not known here is said, and so is a loop without an end', () => {
    expect(machine([0x0f, 0x05]).go).toThrow('exec of byte 0xf is not emulated');
    expect(machine([0x77, 0xfe]).go).toThrow('exec does not come to a ret');
  });
});

function results(...lines: string[]): unknown[] {
  const script = parseScript(['pages 4', ...lines], 'x');
  const machine = new RecordedMachine(script, { npt: false, build: 'debug', stamps: true });
  const seen: unknown[] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) seen.push(step.result?.[0]);
  return seen.slice(1, -1);
}

test('an operand in two pages goes to both', () => {
  const seen = results('g write8 1+4092 0x1122334455667788', 'g read8 2', 'g read8 1+4092');
  expect(seen.slice(1)).toEqual([
    { ok: true, rax: '0x11223344' },
    { ok: true, rax: '0x1122334455667788' },
  ]);
});

test('nothing of it is written if the second page faults', () => {
  const seen = results('g write 1+4092 1', 'g write8 3+4093 2', 'g read 3+4093');
  expect(seen.slice(1)).toMatchObject([{ guest_fault: '4' }, { rax: '0x0' }]);
});

test.each([
  [['h fill 0 4 195', 'h free 1 3', 'h pageout 1 3', 'h write 1 2 1', 'g read8 1', 'g read8 2']],
  [['h fill 0 4 195', 'h free 1 3', 'h write 1 2 1', 'g read8 1', 'g read8 2']],
  [['h fill 0 4 195', 'h munmap 2 1', 'h dontneed 1 3', 'g rw 1', 'g read8 1']],
  [['h fill 0 4 195', 'h mlock 2 1', 'h dontneed 1 3', 'g rw 1', 'g read8 1']],
])('what madvise left is known once it is written, also where it failed: %s', (lines) => {
  expect(runOnEmulator(['pages 4', ...lines]).reason).toBeNull();
});

test('a page that was freed lazily may be gone in one paging mode alone, and what follows with it', () => {
  // Real KVM 6.1 answers 0 with shadow paging and 0xc3 with two-dimensional paging.
  const lines = ['h fill 0 4 195', 'h free 1 2', 'g read 2', 'h age flush 0 4', 'h pageout 2 1'];
  expect(runOnEmulator(['pages 4', ...lines, 'g read 2']).reason).toBeNull();
});
