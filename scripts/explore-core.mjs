// Makes the explorer's core out of the release core: every load and store is logged (Binaryen's
// instrument-memory pass), and every mutable global becomes a word of low memory, so that src/explore
// can undo a step, hash the state incrementally and know each step's exact footprint. The log lies
// in linear memory, at the address in global `explore_log` (0: off):
//
//   +0 end of the read log so far   +4 end of the write log so far   (both byte addresses)
//   +8 limit of the read log        +12 limit of the write log
//   read log:  one u32 an entry, the word index (address / 4)
//   write log: two u32 an entry, the word index and the word's value before the store
import binaryen from 'binaryen';

/** Low memory that asc leaves unused; the globals lie here. */
const GLOBALS_AT = 64;
const GLOBALS_END = 1024;

/** Text as a literal part of a regular expression. */
function escape(text) {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Turns every mutable global of a module's text into a word (or two) of low memory. */
function globalsToMemory(text) {
  let at = GLOBALS_AT;
  let data = '';
  const found = [
    ...text.matchAll(/^ \(global (\S+) \(mut (i32|i64|f64)\) \(\2\.const (\S+)\)\)$/gm),
  ];
  for (const [line, name, type, init] of found) {
    const bytes = type === 'i32' ? 4 : 8;
    at = Math.ceil(at / bytes) * bytes;
    const address = `(i32.const ${at})`;
    const end = '(?=[\\s)])';
    text = text
      .replace(`${line}\n`, '')
      .replaceAll(
        new RegExp(`\\(global\\.get ${escape(name)}\\)`, 'g'),
        `(${type}.load ${address})`,
      )
      .replaceAll(
        new RegExp(`\\(global\\.set ${escape(name)}${end}`, 'g'),
        `(${type}.store ${address}`,
      );
    const view = new DataView(new ArrayBuffer(8));
    if (type === 'i32') view.setInt32(0, Number(init), true);
    else if (type === 'i64') view.setBigInt64(0, BigInt(init), true);
    else view.setFloat64(0, Number(init), true);
    for (let i = 0; i < bytes; i++) {
      const byte = view.getUint8(i);
      if (byte !== 0) {
        const hex = byte.toString(16).padStart(2, '0');
        data += ` (data (i32.const ${at + i}) "\\${hex}")\n`;
      }
    }
    at += bytes;
  }
  if (at > GLOBALS_END) throw new Error('the core has more globals than low memory holds');
  if (/\(mut /.test(text)) throw new Error('a mutable global of the core escaped the explorer');
  return text.replace(/\)\s*$/, `${data})\n`);
}

/** Instruments the bytes of a core that was compiled without bulk memory. */
export function instrumentCore(bytes) {
  const release = binaryen.readBinary(bytes);
  const m = binaryen.parseText(globalsToMemory(release.emitText()));
  release.dispose();
  const { MutableGlobals, SignExt, NontrappingFPToInt, SIMD128 } = binaryen.Features;
  m.setFeatures(MutableGlobals | SignExt | NontrappingFPToInt | SIMD128);
  const { i32, i64, f32, f64, none } = binaryen;

  binaryen.setPassArgument('instrument-memory', 'load,store');
  m.runPasses(['instrument-memory']);
  const memory = binaryen.getExportInfo(m.getExport('memory')).value;
  m.addGlobal('explore_log', i32, true, m.i32.const(0));
  m.addGlobalExport('explore_log', 'explore_log');

  const local = (index) => m.local.get(index, i32);
  const load = (offset, ptr) => m.i32.load(offset, 4, ptr, memory);
  const store = (offset, ptr, value) => m.i32.store(offset, 4, ptr, value, memory);
  const log = () => m.global.get('explore_log', i32);

  // record(word): appends the word to the read log; locals: 0 word, 1 top.
  const append = (slot, withValue) =>
    m.block(null, [
      m.local.set(1, load(slot, log())),
      m.if(
        m.i32.lt_u(local(1), load(slot + 8, log())),
        m.block(
          null,
          [
            store(0, local(1), local(0)),
            ...(withValue
              ? [store(4, local(1), load(0, m.i32.shl(local(0), m.i32.const(2))))]
              : []),
            store(slot, log(), m.i32.add(local(1), m.i32.const(withValue ? 8 : 4))),
          ],
          none,
        ),
      ),
    ]);
  m.addFunction('explore_read', binaryen.createType([i32]), none, [i32], append(0, false));
  m.addFunction('explore_write', binaryen.createType([i32]), none, [i32], append(4, true));

  // load_ptr(id, bytes, offset, address) and store_ptr: log each word that the access touches (up to
  // five, for 16 bytes that are not aligned), return the address. Locals: 4 word, 5 last word.
  const four = binaryen.createType([i32, i32, i32, i32]);
  const word = (end) => m.i32.shr_u(end, m.i32.const(2));
  const at = () => m.i32.add(local(3), local(2));
  for (const [name, callee] of [
    ['load_ptr', 'explore_read'],
    ['store_ptr', 'explore_write'],
  ]) {
    m.removeFunction(name);
    const record = m.call(callee, [local(4)], none);
    const rest = m.loop(
      'next',
      m.if(
        m.i32.lt_u(local(4), local(5)),
        m.block(null, [
          m.local.set(4, m.i32.add(local(4), m.i32.const(1))),
          m.call(callee, [local(4)], none),
          m.br('next'),
        ]),
      ),
    );
    const log4 = m.block(null, [
      m.local.set(4, word(at())),
      m.local.set(5, word(m.i32.add(at(), m.i32.sub(local(1), m.i32.const(1))))),
      record,
      rest,
    ]);
    m.addFunction(name, four, i32, [i32, i32], m.block(null, [m.if(log(), log4), local(3)], i32));
  }
  for (const kind of ['load_val', 'store_val']) {
    for (const [suffix, type] of Object.entries({ i32, i64, f32, f64 })) {
      const name = `${kind}_${suffix}`;
      m.removeFunction(name);
      m.addFunction(name, binaryen.createType([i32, type]), type, [], m.local.get(1, type));
    }
  }
  binaryen.setOptimizeLevel(3);
  binaryen.setShrinkLevel(0);
  binaryen.setDebugInfo(true);
  if (!m.validate()) throw new Error('the instrumented core is not valid');
  m.optimize();
  const out = m.emitBinary();
  m.dispose();
  return out;
}
