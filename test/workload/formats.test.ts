// Each format by examples written by hand, round trips of arbitrary streams, and broken input.
import fc from 'fast-check';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { loadCore } from '../../src/core/load.ts';
import { MemoryBytes } from '../../src/workload/bytes.ts';
import { TRACE_FORMATS } from '../../src/workload/formats.ts';
import { traceSource } from '../../src/workload/trace-source.ts';
import { access, decode, encode, readAll } from './helpers.ts';

const R = 0;
const W = 1;
const X = 2;

describe('examples', () => {
  test('lackey: kinds, page crossings, messages, upper-half and short addresses', () => {
    const text = [
      '==7== Lackey',
      'I  0401ab70,3',
      ' L 1fff000708,8',
      ' S 1fff000ffc,8',
      ' M 0401bfff,12',
      '',
      '--7-- note',
      ' L ffffffff81000000,4\r',
      'I  7,1',
      'Ix not a reference',
      ' S 00001000,4097',
    ].join('\n');
    expect(decode(text)).toEqual([
      access(0x401an, X),
      access(0x1fff000n, R),
      access(0x1fff000n, W),
      access(0x1fff001n, W),
      access(0x401bn, W),
      access(0x401cn, W),
      0xffffffff81000000n,
      access(0n, X),
      access(1n, W),
      access(2n, W),
    ]);
  });

  test('classic, pages, din', () => {
    expect(decode('0041f7a0 R\n13f5e2c0 W\n')).toEqual([access(0x41fn, R), access(0x13f5en, W)]);
    expect(decode('# note\nI 401a\nS 1fff000\nL 0x7\n')).toEqual([
      access(0x401an, X),
      access(0x1fff000n, W),
      access(7n, R),
    ]);
    expect(decode('0 1000 a comment\n1 2fff\n 2 401ab70\n3 5000\n4 0\n')).toEqual([
      access(1n, R),
      access(2n, W),
      access(0x401an, X),
      access(5n, R),
    ]);
  });

  test('DynamoRIO: both sample clients and the view tool', () => {
    const simple = [
      'Format: <data address>: <data size>, <(r)ead/(w)rite/opcode>',
      '0x00007f1c2a3b4ffe:  4, mov',
      '0x00007ffe01c0:  8, r',
      '0x00007ffe01c8:  8, w',
    ];
    expect(decode(simple.join('\n'))).toEqual([
      access(0x7f1c2a3b4n, X),
      access(0x7f1c2a3b5n, X),
      access(0x7ffe0n, R),
      access(0x7ffe0n, W),
    ]);
    const x86 = [
      'Format: <instr address>,<(r)ead/(w)rite>,<data size>,<data address>',
      '0x401a,w,8,0x7ffe01c0',
      '0x401d,r,4,0x7ffe11c0',
    ];
    expect(decode(x86.join('\n'))).toEqual([access(0x7ffe0n, W), access(0x7ffe1n, R)]);
    const view = [
      'Output format:',
      '<--record#-> <--instr#->: <---tid---> <record details>',
      '------------------------------------------------------------',
      '           1           0:     3264604 <marker: version 3>',
      '          10           1:     3264604 ifetch       3 byte(s) @ 0x00007f6fdd3ec2a0 48 89 e7 mov %rsp, %rdi',
      '          11           2:     3264604 write        8 byte(s) @ 0x00007ffc2c1f5b58 by PC 0x00007f6fdd3ec2a3',
      '          12           3:     3264604 read         8 byte(s) @ 0x00007ffc2c1f6b58 by PC 0x00007f6fdd3ec2a3',
    ];
    expect(decode(view.join('\n'))).toEqual([
      access(0x7f6fdd3ecn, X),
      access(0x7ffc2c1f5n, W),
      access(0x7ffc2c1f6n, R),
    ]);
  });

  test('ChampSim: the fetch, the loads, the stores', () => {
    const record = new DataView(new ArrayBuffer(64));
    record.setBigUint64(0, 0x401ab70n, true);
    record.setBigUint64(16, 0x5000n, true);
    record.setBigUint64(32, 0x6010n, true);
    record.setBigUint64(56, 0x7010n, true);
    const two = Buffer.concat([Buffer.from(record.buffer), Buffer.from(record.buffer)]);
    const once = [access(0x401an, X), access(6n, R), access(7n, R), access(5n, W)];
    expect(decode(two)).toEqual([...once, ...once]);
  });

  test('oracleGeneral: each request is a read of a page', () => {
    const records = new DataView(new ArrayBuffer(48));
    records.setBigUint64(4, 0x1234n, true);
    records.setUint32(12, 4096, true);
    records.setBigInt64(16, 1n, true);
    records.setBigUint64(28, 0x1234n, true);
    records.setUint32(36, 4096, true);
    records.setBigInt64(40, -1n, true);
    expect(decode(new Uint8Array(records.buffer))).toEqual([
      access(0x1234n, R),
      access(0x1234n, R),
    ]);
  });

  test("a raw Valgrind log may hold the program's own output", () => {
    const core = loadCore('debug');
    const log = '==7== Lackey\nI  0401ab70,3\ntotal 9624\n-rwx 1 root\n L 00005000,4\n==7== end\n';
    const source = traceSource(core, new MemoryBytes('t', Buffer.from(log)));
    expect(readAll(core, source)).toHaveLength(2);
  });
});

/** Streams with runs of few pages, as programs make them, and pages from anywhere. */
const page = fc.oneof(
  fc.integer({ min: 1, max: 40 }).map(BigInt),
  fc.bigInt({ min: 1n, max: (1n << 35n) - 1n }),
  fc.bigInt({ min: (1n << 52n) - (1n << 35n), max: (1n << 52n) - 1n }),
);
const kinds: Record<string, number[]> = {
  classic: [R, W],
  'memtrace-x86': [R, W],
  'oracle-general': [R],
};
const streamOf = (format: string) =>
  fc.array(
    fc.tuple(page, fc.constantFrom(...(kinds[format] ?? [R, W, X]))).map(([p, k]) => access(p, k)),
    { minLength: 1, maxLength: 300 },
  );

describe.each(TRACE_FORMATS.map((f) => f.name))('%s', (format) => {
  test('what is written is read, in pieces of any size, compressed or not', () => {
    const step = fc.integer({ min: 1, max: 4096 });
    fc.assert(
      fc.property(streamOf(format), step, fc.boolean(), (records, bytes, zip) => {
        const trace = encode(records, format);
        expect(decode(zip ? gzipSync(trace) : trace, format, bytes)).toEqual(records);
      }),
      { numRuns: 40, seed: 1 },
    );
  });

  test('damage gives records or a DataError of one line, never a trap', () => {
    const edit = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) });
    const edits = fc.array(edit, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(
        streamOf(format),
        edits,
        fc.nat(),
        fc.boolean(),
        (records, changes, cut, cuts) => {
          let trace = encode(records, format);
          for (const { at, byte } of changes) trace[at % trace.length] = byte;
          if (cuts) trace = trace.subarray(0, cut % trace.length);
          expectDataErrorOrRecords(() => decode(trace, format, 97));
        },
      ),
      { numRuns: 150, seed: 2 },
    );
  });

  test('garbage gives records or a DataError', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc.string({ maxLength: 600 }).map((s) => Buffer.from(s, 'latin1')),
      fc
        .array(fc.constantFrom(...'ILSM 0123f,x:@rw\n\r=R<-'), { maxLength: 400 })
        .map((s) => Buffer.from(s.join(''))),
    );
    fc.assert(
      fc.property(bytes, fc.boolean(), (data, detect) => {
        expectDataErrorOrRecords(() => decode(data, detect ? undefined : format));
      }),
      { numRuns: 150, seed: 3 },
    );
  });
});

function expectDataErrorOrRecords(run: () => bigint[]): void {
  try {
    for (const record of run()) {
      const sign = record >> 47n;
      if ((record & 3n) !== 3n) expect(sign === 0n || sign === (1n << 17n) - 1n).toBe(true);
    }
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).not.toContain('\n');
  }
}

test('smt keeps control records and the flags of references', () => {
  const records = fc.array(
    fc.oneof(
      fc.tuple(page, fc.nat(2), fc.constantFrom(0n, 4n, 12n)).map(([p, k, f]) => access(p, k) | f),
      fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }).map((arg) => (arg << 12n) | 3n),
    ),
    { minLength: 1, maxLength: 200 },
  );
  fc.assert(
    fc.property(records, fc.integer({ min: 1, max: 500 }), (stream, step) => {
      expect(decode(encode(stream, 'smt'), undefined, step)).toEqual(stream);
    }),
    { numRuns: 60, seed: 4 },
  );
});

describe('one clear line', () => {
  const lackey = 'I  0401ab70,3\n L 00005000,4\n';
  test.each([
    ['empty', '', undefined, 't: is empty'],
    ['blank', '\n\n==1== x\n', undefined, 't: holds no references, only blank lines or messages'],
    ['unknown', 'hello\n', undefined, 't: line 1: not a line of a known trace format: "hello"'],
    [
      'broken',
      `${lackey} L 00q,4\n`,
      undefined,
      't: line 3: expected lackey as in " L 1fff000708,8", found " L 00q,4"',
    ],
    [
      'mixed',
      `${lackey}0041f7a0 R\n`,
      undefined,
      't: line 3: expected lackey as in " L 1fff000708,8", found "0041f7a0 R"',
    ],
    [
      'mixed log',
      `==1== x\n${lackey}0041f7a0 R\n`,
      undefined,
      't: line 4: expected lackey as in " L 1fff000708,8", found "0041f7a0 R"',
    ],
    [
      'cut',
      `${lackey} L 0000`,
      undefined,
      't: line 3: expected lackey as in " L 1fff000708,8", found " L 0000"',
    ],
    [
      'size 0',
      `${lackey} L 00005000,0\n`,
      undefined,
      't: line 3: access size is not between 1 and 32768: " L 00005000,0"',
    ],
    [
      'canonical',
      `${lackey} L 800000000000,4\n`,
      undefined,
      't: line 3: address is not canonical (48 bits): " L 800000000000,4"',
    ],
    [
      'canonical end',
      ' L 7fffffffffff,4\n',
      undefined,
      't: line 1: address is not canonical (48 bits): " L 7fffffffffff,4"',
    ],
    [
      'page',
      'I 401a\nS 800000000\n',
      undefined,
      't: line 2: address is not canonical (48 bits): "S 800000000"',
    ],
    [
      '17 digits',
      'S 00000000000001000\n',
      'pages',
      't: line 1: expected pages as in "S 1fff000", found "S 00000000000001000"',
    ],
    [
      'binary',
      '\u0001\u0002\u0003',
      undefined,
      't: binary data that is no known trace format; name it with --format',
    ],
    ['xz', '\u00fd7zXZ\u0000', undefined, 't: is xz-compressed; pipe it in: xz -dc FILE | … -'],
    ['not smt', lackey, 'smt', 't: byte 0: no smt header, or one of a later version'],
    [
      'half a record',
      'x'.repeat(30),
      'oracle-general',
      't: byte 0 (record 1): address is not canonical (48 bits)',
    ],
  ] as const)('%s', (_name, text, format, message) => {
    expect(() => decode(text, format)).toThrow(new DataError(message));
  });

  test('a cut or continued smt trace', () => {
    const trace = encode([access(5n, R), access(6n, W)], 'smt');
    expect(() => decode(trace.subarray(0, -1))).toThrow('the smt trace is cut off');
    expect(() => decode(trace.subarray(0, 36))).toThrow('the smt trace is cut off');
    expect(() => decode(Buffer.concat([trace, Buffer.from('x')]))).toThrow('data follows the end');
    const counted = Uint8Array.from(trace);
    counted[counted.length - 8] = 9;
    expect(() => decode(counted)).toThrow('the number of records is not what the end mark says');
  });

  test('cut and damaged gzip data', () => {
    const zipped = gzipSync(Buffer.from(lackey.repeat(5000)));
    expect(() => decode(zipped.subarray(0, 60))).toThrow('t: is cut off inside its gzip data');
    const damaged = Uint8Array.from(zipped);
    damaged.fill(0xaa, 20, 40);
    expect(() => decode(damaged)).toThrow('t: has damaged gzip data');
  });
});
