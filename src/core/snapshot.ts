// A snapshot of a core: one copy of the used part of linear memory and the values of its globals.

import type { Core } from './load.ts';

/** A saved state of a core. Usable on any core of the same build. */
export interface CoreSnapshot {
  readonly memory: Uint8Array;
  readonly globals: readonly (number | bigint)[];
}

function globalsOf(core: Core): WebAssembly.Global[] {
  return Object.entries(core.x as object)
    .filter(([name]) => name.startsWith('global:'))
    .map(([, value]) => value as WebAssembly.Global);
}

/** Copies the state of a core. */
export function saveCore(core: Core): CoreSnapshot {
  return {
    memory: core.mem.u8.slice(0, core.x.memoryTop() >>> 0),
    globals: globalsOf(core).map((global) => global.value as number | bigint),
  };
}

/** Puts a core into a saved state. Pages that it took since are zeroed, as fresh ones are. */
export function restoreCore(core: Core, snapshot: CoreSnapshot): void {
  const top = core.x.memoryTop() >>> 0;
  const missing = snapshot.memory.length - core.mem.memory.buffer.byteLength;
  if (missing > 0) core.mem.memory.grow(Math.ceil(missing / 65536));
  core.mem.u8.set(snapshot.memory);
  if (top > snapshot.memory.length) core.mem.u8.fill(0, snapshot.memory.length, top);
  const globals = globalsOf(core);
  snapshot.globals.forEach((value, i) => {
    (globals[i] as WebAssembly.Global).value = value;
  });
}
