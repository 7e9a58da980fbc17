// Reads a recording of the real KVM (see the oracle's README) and says precisely what is wrong with
// one that it cannot use.

import { gunzipSync } from 'node:zlib';
import { DataError } from '../../core/errors.ts';
import { readBytes } from '../../files.ts';

/** A value of a recording's JSON. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
/** An object of a recording's JSON. */
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/** One event of a step: `t` is its name. */
export interface KvmEvent extends JsonObject {
  readonly t: string;
}

/** State of a page after a step. */
export interface PageState extends JsonObject {
  readonly host: JsonObject;
  readonly shadow: JsonObject;
  readonly gpte: string;
}

/** One step of a recording. */
export interface Step {
  readonly i: number;
  readonly op: string;
  readonly who: string;
  readonly result?: readonly JsonObject[];
  readonly events?: readonly KvmEvent[];
  readonly event_counts?: Readonly<Record<string, number>>;
  readonly seq?: string;
  readonly kvm_counters_delta?: Readonly<Record<string, number>>;
  readonly pages_initial?: readonly JsonObject[];
  readonly pages_changed?: Readonly<Record<string, PageState>>;
  readonly shadow_pages?: readonly JsonObject[];
  readonly age?: Readonly<Record<string, { readonly host: number; readonly kvm: number }>>;
  readonly dirty?: readonly number[];
  readonly budget_pages?: number;
  /** The group's memory after the step, in pages; memory.stat's, which are all but swap_current, are flushed late. */
  readonly mem_now?: Readonly<Record<string, number>>;
}

/** A recording. */
export interface Recording {
  /** File that it was read from. */
  readonly file: string;
  readonly name: string;
  readonly desc: string;
  readonly kernel: string;
  /** 1: two-dimensional paging, 0: shadow paging. */
  readonly npt: 0 | 1;
  readonly pages: number;
  readonly backing: string;
  readonly thp: boolean;
  readonly script: readonly string[];
  /** Steps that a repeat did differently, by field. */
  readonly differing: Readonly<Record<string, readonly number[]>>;
  readonly steps: readonly Step[];
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

class Reader {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  fail(where: string, what: string): never {
    throw new DataError(`${this.file}: ${where}: ${what}`);
  }

  object(value: unknown, where: string): JsonObject {
    if (!isObject(value)) this.fail(where, 'expected an object');
    return value;
  }

  string(value: unknown, where: string): string {
    if (typeof value !== 'string') this.fail(where, 'expected a string');
    return value;
  }

  number(value: unknown, where: string): number {
    if (typeof value !== 'number') this.fail(where, 'expected a number');
    return value;
  }

  array(value: unknown, where: string): readonly unknown[] {
    if (!Array.isArray(value)) this.fail(where, 'expected an array');
    return value;
  }

  step(value: unknown, index: number): Step {
    const where = `steps[${index}]`;
    const step = this.object(value, where);
    this.number(step.i, `${where}.i`);
    this.string(step.op, `${where}.op`);
    if (step.events !== undefined) {
      this.array(step.events, `${where}.events`).forEach((event, j) => {
        const at = `${where}.events[${j}]`;
        this.string(this.object(event, at).t, `${at}.t`);
      });
    }
    if (step.result !== undefined) this.array(step.result, `${where}.result`);
    for (const key of ['kvm_counters_delta', 'pages_changed', 'event_counts', 'age']) {
      if (step[key] !== undefined) this.object(step[key], `${where}.${key}`);
    }
    return step as unknown as Step;
  }
}

/** Checks a parsed recording; `file` is named in errors. */
export function toRecording(file: string, json: unknown): Recording {
  const r = new Reader(file);
  const top = r.object(json, 'top level');
  const npt = r.number(top.npt, 'npt');
  if (npt !== 0 && npt !== 1) return r.fail('npt', `expected 0 or 1, found ${npt}`);
  if (top.complete === false) r.fail('complete', 'the recording broke off; make it again');
  const data = r.object(r.object(top.layout, 'layout').data, 'layout.data');
  const determinism = top.determinism === undefined ? {} : r.object(top.determinism, 'determinism');
  const differing = determinism.differing_steps_by_field ?? {};
  return {
    file,
    name: r.string(top.name, 'name'),
    desc: typeof top.desc === 'string' ? top.desc : '',
    kernel: r.string(top.kernel, 'kernel'),
    npt,
    pages: r.number(data.pages, 'layout.data.pages'),
    backing: r.string(data.backing, 'layout.data.backing'),
    thp: data.thp === 1,
    script: r.array(top.script, 'script').map((line, i) => r.string(line, `script[${i}]`)),
    differing: r.object(
      differing,
      'determinism.differing_steps_by_field',
    ) as Recording['differing'],
    steps: r.array(top.steps, 'steps').map((step, i) => r.step(step, i)),
  };
}

/** Reads a recording, gzipped or not. */
export function readRecording(file: string): Recording {
  let bytes = readBytes(file);
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      bytes = gunzipSync(bytes);
    } catch (error) {
      throw new DataError(`${file}: broken gzip data: ${(error as Error).message}`);
    }
  }
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new DataError(`${file}: not JSON: ${(error as Error).message}`);
  }
  return toRecording(file, json);
}
