// Runs through the steps of a scenario and writes their records.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  CONTROL_COUNT_SHIFT,
  CONTROL_HOST,
  CONTROL_OPERAND_SHIFT,
  CONTROL_OP_SHIFT,
  PAGE_SHIFT,
} from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import { type AccessSource, MIN_BATCH, type Workload } from './source.ts';

/** One step, checked. */
export type ScenarioStep =
  | {
      readonly kind: 'access';
      readonly flags: number;
      readonly page: number;
      readonly pages: number;
      readonly stride: number;
      readonly times: number;
    }
  | {
      readonly kind: 'control';
      readonly op: number;
      readonly operand: number;
      readonly count: number;
    }
  | { readonly kind: 'host'; readonly index: number }
  | {
      readonly kind: 'workload';
      readonly workload: Workload;
      /** Added to the indices of the workload's own host operations. */
      readonly hostOpBase: number;
    }
  | { readonly kind: 'repeat'; readonly times: number; readonly steps: readonly ScenarioStep[] };

/** The steps of one level and where in them the run is. */
interface Level {
  readonly steps: readonly ScenarioStep[];
  at: number;
  left: number;
}

/** High and low word of a record for page `page`. */
function storePage(u32: Uint32Array, word: number, page: number, flags: number): void {
  u32[word] = ((page << PAGE_SHIFT) | flags) >>> 0;
  const high = Math.floor(page / 2 ** (32 - PAGE_SHIFT));
  // Page numbers of the upper half are sign-extended from bit 47.
  u32[word + 1] = page >= 2 ** 35 ? (high | 0xffff0000) >>> 0 : high;
}

function storeControl(
  u32: Uint32Array,
  word: number,
  op: number,
  operand: number,
  count = 1,
): void {
  const low = operand % 16;
  u32[word] =
    ((low << CONTROL_OPERAND_SHIFT) |
      ((count - 1) << CONTROL_COUNT_SHIFT) |
      (op << CONTROL_OP_SHIFT) |
      ACCESS_CONTROL) >>>
    0;
  u32[word + 1] = Math.floor(operand / 16);
}

/** A scenario as records. */
export class ScenarioSource implements AccessSource {
  readonly references = undefined;
  readonly #core: Core;
  readonly #top: number;
  #levels: Level[];
  /** Position in the access step under way. */
  #done = 0;
  /** Source of the workload step under way. */
  #inner: AccessSource | undefined;

  constructor(core: Core, steps: readonly ScenarioStep[]) {
    this.#core = core;
    this.#top = steps.length;
    this.#levels = [{ steps, at: 0, left: 1 }];
  }

  next(core: Core, recordsPtr: number, maxRecords: number): number {
    let n = 0;
    while (this.#levels.length > 0 && n < maxRecords) {
      const level = this.#levels.at(-1) as Level;
      const step = level.steps[level.at];
      if (step === undefined) {
        this.#endOf(level);
      } else if (step.kind === 'workload') {
        // Its batches have a least size of their own.
        if (maxRecords - n < MIN_BATCH) break;
        const taken = this.#nextOf(step, core, recordsPtr + n * 8, maxRecords - n);
        n += taken;
        if (taken === 0) level.at++;
      } else if (step.kind === 'repeat') {
        level.at++;
        this.#levels.push({ steps: step.steps, at: 0, left: step.times });
      } else {
        n += this.#write(step, level, recordsPtr + n * 8, maxRecords - n);
      }
    }
    return n;
  }

  /** By the steps of the outermost level. */
  progress(): number {
    const outer = this.#levels[0];
    return outer ? outer.at / this.#top : 1;
  }

  close(): void {
    this.#inner?.close();
    this.#inner = undefined;
    this.#levels = [];
  }

  #endOf(level: Level): void {
    level.left--;
    if (level.left > 0) level.at = 0;
    else this.#levels.pop();
  }

  #write(
    step: Extract<ScenarioStep, { kind: 'access' | 'control' | 'host' }>,
    level: Level,
    ptr: number,
    max: number,
  ): number {
    const { u32 } = this.#core.mem;
    const word = ptr >>> 2;
    if (step.kind !== 'access') {
      if (step.kind === 'host') storeControl(u32, word, CONTROL_HOST, step.index);
      else storeControl(u32, word, step.op, step.operand, step.count);
      level.at++;
      return 1;
    }
    const total = step.pages * step.times;
    const n = Math.min(max, total - this.#done);
    for (let i = 0; i < n; i++) {
      const page = step.page + ((this.#done + i) % step.pages) * step.stride;
      storePage(u32, word + 2 * i, page, step.flags);
    }
    this.#done += n;
    if (this.#done === total) {
      this.#done = 0;
      level.at++;
    }
    return n;
  }

  #nextOf(
    step: Extract<ScenarioStep, { kind: 'workload' }>,
    core: Core,
    ptr: number,
    max: number,
  ): number {
    this.#inner ??= step.workload.open(core);
    const n = this.#inner.next(core, ptr, max);
    if (n === 0) {
      this.#inner.close();
      this.#inner = undefined;
    } else if (step.hostOpBase > 0) {
      this.#rebase(ptr, n, step.hostOpBase);
    }
    return n;
  }

  /** Moves the indices of host operations to where the scenario's list has them. */
  #rebase(ptr: number, count: number, base: number): void {
    const { u32 } = this.#core.mem;
    for (let word = ptr >>> 2; word < (ptr >>> 2) + 2 * count; word += 2) {
      const low = u32[word] as number;
      const op = (low >>> CONTROL_OP_SHIFT) & 15;
      if ((low & ACCESS_KIND_MASK) !== ACCESS_CONTROL || op !== CONTROL_HOST) continue;
      const operand = (u32[word + 1] as number) * 16 + (low >>> CONTROL_OPERAND_SHIFT);
      storeControl(u32, word, CONTROL_HOST, operand + base);
    }
  }
}
