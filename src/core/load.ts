// Instantiates the core. The only file that names the loader; calls go to `instance.exports`, since
// the loader's wrappers cost twice as much.

import { readFileSync } from 'node:fs';
import { instantiateSync } from '@assemblyscript/loader';
import { ABI_VERSION } from '../../assembly/abi.ts';
import { CoreBugError } from './errors.ts';
import type { CoreExports } from './exports.ts';
import { CoreMemory } from './memory.ts';

/** Which build of the core: `debug` has asserts and the audit, `explore` logs every access. */
export type CoreBuild = 'release' | 'profile' | 'debug' | 'explore';

const FILES: Record<CoreBuild, string> = {
  release: 'core.wasm',
  profile: 'core.profile.wasm',
  debug: 'core.debug.wasm',
  explore: 'core.explore.wasm',
};

/** Receives events of the core; see EVENT_* in assembly/abi.ts. */
export type EventSink = (id: number, a: number, b: number, c: number, d: number) => void;

/** An instantiated core: its exports (u32 results come signed: use `>>> 0`) and its memory. */
export interface Core {
  readonly x: CoreExports;
  readonly mem: CoreMemory;
  readonly build: CoreBuild;
  /** True while someone listens to the event stream. */
  readonly tracing: boolean;
  /** Sends an event of the host's side into the same stream; call it only while `tracing`. */
  readonly emit: EventSink;
  /** Adds to a counter (its slot); what the core's own bump() does, without a call. */
  bump(slot: number, by?: number): void;
  /** Starts the event stream, or with null ends it. Core and host share the one order. */
  trace(sink: EventSink | null): void;
}

function ignore(): void {}

/** Runs `body` without events. */
export function untraced(core: Core, body: () => void): void {
  const sink = core.tracing ? core.emit : null;
  core.trace(null);
  body();
  core.trace(sink);
}

const modules = new Map<CoreBuild, WebAssembly.Module>();

/** Bytes of a core, as they were compiled. */
export function coreBytes(build: CoreBuild): Uint8Array<ArrayBuffer> {
  // dist/index.js lies beside the core; src/core/load.ts is two folders below build/.
  const near = import.meta.url.endsWith('.ts') ? '../../build/' : './';
  return readFileSync(new URL(near + FILES[build], import.meta.url));
}

/** Replaces the exports of cores that are loaded from now on; undefined: no longer. */
type CoreInterceptor = (x: CoreExports) => CoreExports;
let interceptor: CoreInterceptor | undefined;

/** Lets a profile see the calls into every core that is loaded from now on. */
export function interceptCores(by: CoreInterceptor | undefined): void {
  interceptor = by;
}

function compile(build: CoreBuild): WebAssembly.Module {
  let module = modules.get(build);
  if (!module) {
    module = new WebAssembly.Module(coreBytes(build));
    modules.set(build, module);
  }
  return module;
}

/** Makes a fresh core. */
export function loadCore(build: CoreBuild = 'release'): Core {
  let sink: EventSink = ignore;
  const { instance } = instantiateSync(compile(build), {
    host: {
      event: (id: number, a: number, b: number, c: number, d: number) =>
        sink(id, a >>> 0, b >>> 0, c >>> 0, d >>> 0),
    },
  });
  const exported = instance.exports as unknown as CoreExports;
  const x = interceptor ? interceptor(exported) : exported;
  const version = x.abiVersion() >>> 0;
  if (version !== ABI_VERSION) {
    throw new CoreBugError(
      `core has ABI ${version}, the host wants ${ABI_VERSION}: rebuild with npm run build`,
    );
  }
  const mem = new CoreMemory(x.memory);
  const stats = (x.statsPtr() >>> 0) >>> 2;
  // Plain fields, since the host reads `tracing` on every step of a fault.
  const core = {
    x,
    mem,
    build,
    tracing: false,
    emit: ignore as EventSink,
    bump(slot: number, by = 1) {
      const { u32 } = mem;
      const at = stats + 2 * slot;
      const value = (u32[at] as number) + by;
      u32[at] = value;
      if (value > 0xffffffff) u32[at + 1] = (u32[at + 1] as number) + 1;
    },
    trace(to: EventSink | null) {
      sink = to ?? ignore;
      core.emit = sink;
      core.tracing = to !== null;
      x.setTracing(to ? 1 : 0);
    },
  };
  return core;
}
