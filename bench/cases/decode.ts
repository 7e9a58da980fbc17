// (i): decoding a lackey trace and the same trace in our own format, into records and into a machine.
import { writeFileSync } from 'node:fs';
import { TRACE_CONSUMED, TRACE_FORMAT_SMT, TRACE_FORMAT_LACKEY } from '../../assembly/abi.ts';
import { type Core, loadCore } from '../../src/core/load.ts';
import { createVm } from '../../src/machine.ts';
import { best, cpuTime, paired } from '../lib/measure.ts';
import { native } from '../lib/native.ts';
import type { Row } from '../lib/row.ts';
import { OUT, lackeyText } from '../lib/traces.ts';

/** Records decoded at a time, and text bytes that are looked at. */
const BATCH = 8192;
const TEXT_BYTES = 64 << 20;
const SLACK = 4096;
/** Passes of a round; the native loop makes as many. */
const PASSES = 5;

/** Bytes of a trace in a core's memory. */
interface Input {
  readonly core: Core;
  readonly at: number;
  readonly length: number;
  readonly format: number;
  readonly out: number;
}

function place(core: Core, bytes: Uint8Array, format: number): Input {
  const at = (core.x.arenaAlloc(bytes.length + 2 * SLACK) >>> 0) + SLACK;
  core.mem.u8.set(bytes, at);
  const out = core.x.arenaAlloc((BATCH + SLACK) * 8) >>> 0;
  return { core, at, length: bytes.length, format, out };
}

/** Decodes all of it, and gives each batch of records to `use`. Returns the records. */
function decode({ core, at, length, format, out }: Input, use?: (count: number) => void): number {
  const { x, mem } = core;
  const decoder = x.traceOpen(format) >>> 0;
  let records = 0;
  for (let done = 0; ;) {
    const n = x.traceDecode(decoder, at + done, length - done, 1, out, BATCH);
    if (n === 0) break;
    records += n;
    if (use) use(n);
    done += mem.load32(decoder + TRACE_CONSUMED);
  }
  x.traceClose(decoder);
  return records;
}

/** The trace in our own format. */
function encoded(text: Input): Uint8Array {
  const { x, mem } = text.core;
  const encoder = x.traceOpen(TRACE_FORMAT_SMT) >>> 0;
  const parts: Uint8Array[] = [];
  const bytes = x.arenaAlloc((BATCH + SLACK) * 16) >>> 0;
  const keep = (length: number): void => void parts.push(mem.u8.slice(bytes, bytes + length));
  keep(x.traceEncodeHeader(bytes, 0, 0));
  decode(text, (count) => keep(x.traceEncode(encoder, text.out, count, bytes)));
  keep(x.traceEncodeEnd(encoder, bytes));
  x.traceClose(encoder);
  return new Uint8Array(Buffer.concat(parts));
}

/** The same with each batch replayed on a machine on which every page is mapped already. */
function replayed(bytes: Uint8Array, format: number): () => number {
  const vm = createVm({
    memoryPages: 65_536,
    guestPages: 65_536,
    protocol: 'v3',
    guestTables: 'resident',
    yardstick: false,
  });
  const input = place(vm.core, bytes, format);
  const all = (): number => decode(input, (count) => vm.runRecords(input.out, count));
  all();
  return () => cpuTime(() => void all());
}

/** Units a second, in millions. */
function rate(units: number, ns: number): number {
  return (units / ns) * 1000;
}

/** Rates of text and binary. */
export function decoding(rounds: number, withNative: boolean): Row[] {
  const whole = lackeyText();
  if (whole === undefined) return [];
  const end = whole.lastIndexOf(0x0a, TEXT_BYTES) + 1;
  const bytes = whole.subarray(0, end);
  const file = `${OUT}text.lackey`;
  writeFileSync(file, bytes);
  const text = place(loadCore(), bytes, TRACE_FORMAT_LACKEY);
  const packed = encoded(text);
  const binary = place(loadCore(), packed, TRACE_FORMAT_SMT);
  const records = decode(binary);
  const timed = (input: Input) => best(PASSES, () => cpuTime(() => void decode(input)));
  const replayText = replayed(bytes, TRACE_FORMAT_LACKEY);
  const replayBinary = replayed(packed, TRACE_FORMAT_SMT);
  const c = withNative ? () => rate(bytes.length, native('loops', 'lackey', file).ns) : undefined;
  const counts = { records, text_bytes: bytes.length, binary_bytes: packed.length };
  const row = (name: string, unit: Row['unit'], once: () => number): Row => {
    once();
    return { letter: 'i', name, unit, ...paired(rounds, once, undefined) };
  };
  timed(text);
  const perRecord = (ns: number): number => rate(records, ns);
  return [
    {
      letter: 'i',
      name: 'lackey text',
      unit: 'MB/s',
      ...paired(rounds, () => rate(bytes.length, timed(text)), c),
      limit: { value: 400, ratio: 0.6, atLeast: true },
      counts,
    },
    row('lackey text', 'Mref/s', () => perRecord(timed(text))),
    row('lackey text and replay', 'Mref/s', () => perRecord(best(PASSES, replayText))),
    row('binary', 'Mref/s', () => perRecord(timed(binary))),
    row('binary', 'MB/s', () => rate(packed.length, timed(binary))),
    {
      ...row('binary and replay', 'Mref/s', () => perRecord(best(PASSES, replayBinary))),
      limit: { value: 200, atLeast: true },
    },
  ];
}
