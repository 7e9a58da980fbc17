// Synthetic workloads with several processes, or whose guest kernel edits page tables: references
// with control records between them.

import {
  ACCESS_CONTROL,
  ACCESS_READ,
  ACCESS_WRITE,
  CONTROL_COUNT_SHIFT,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_HOST,
  CONTROL_MARK,
  CONTROL_OPERAND_SHIFT,
  CONTROL_OP_SHIFT,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
  GEN_BASE,
  GEN_PAGES,
  GEN_PRIVATE,
  GEN_RNG,
  GEN_WRITE,
} from '../abi';
import { rngBelow } from '../random';
import { admits, emitReference, parameter } from './generate';

/** References made in the current stretch (child, time slice, pass). */
const STEP: usize = <usize>GEN_PRIVATE;
/** Which process, region or phase is under way. */
const WHICH: usize = <usize>GEN_PRIVATE + 4;
/** 1 once the parent's data, or the first process, is set up. */
const READY: usize = <usize>GEN_PRIVATE + 8;
const PASS: usize = <usize>GEN_PRIVATE + 12;

/** The child: one at a time, so its number is free again when the next is forked. */
const CHILD: u32 = 1;

function control(out: usize, op: u32, operand: u64, count: u32): usize {
  const argument =
    ((<u64>op) << (<u64>CONTROL_OP_SHIFT)) | ((<u64>(count - 1)) << (<u64>CONTROL_COUNT_SHIFT));
  store<u64>(out, (operand << (<u64>CONTROL_OPERAND_SHIFT)) | argument | (<u64>ACCESS_CONTROL));
  return out + 8;
}

function kindOf(gen: usize): u32 {
  return admits(gen, load<u32>(gen, GEN_WRITE)) ? ACCESS_WRITE : ACCESS_READ;
}

function anyPage(gen: usize): u64 {
  const page = rngBelow(gen + <usize>GEN_RNG, load<u32>(gen, GEN_PAGES));
  return <u64>load<u32>(gen, GEN_BASE) + <u64>page;
}

/**
 * A server that forks a child for each request: process 0 writes all of its pages, then serves
 * (reads), forks, and the child reads and writes shared pages, copying those that it writes, and
 * exits.
 */
export function nextForkServer(gen: usize, out: usize): usize {
  const step = load<u32>(gen + STEP);
  if (load<u32>(gen + READY) == 0) {
    const vpn = <u64>load<u32>(gen, GEN_BASE) + <u64>step;
    const last = step + 1 == load<u32>(gen, GEN_PAGES);
    store<u32>(gen + READY, last ? 1 : 0);
    store<u32>(gen + STEP, last ? 0 : step + 1);
    return emitReference(gen, out, vpn, ACCESS_WRITE);
  }
  if (load<u32>(gen + WHICH) == 0) {
    if (step < parameter(gen, 1)) {
      store<u32>(gen + STEP, step + 1);
      return emitReference(gen, out, anyPage(gen), ACCESS_READ);
    }
    store<u32>(gen + WHICH, CHILD);
    store<u32>(gen + STEP, 0);
    out = control(out, CONTROL_FORK, <u64>CHILD, 1);
    return control(out, CONTROL_SWITCH, <u64>CHILD, 1);
  }
  if (step < parameter(gen, 0)) {
    store<u32>(gen + STEP, step + 1);
    return emitReference(gen, out, anyPage(gen), kindOf(gen));
  }
  store<u32>(gen + WHICH, 0);
  store<u32>(gen + STEP, 0);
  out = control(out, CONTROL_SWITCH, 0, 1);
  return control(out, CONTROL_EXIT, <u64>CHILD, 1);
}

/** Processes in turn, each with pages of its own, at the same addresses. */
export function nextSwitch(gen: usize, out: usize): usize {
  const step = load<u32>(gen + STEP);
  if (step == parameter(gen, 1)) {
    const next = (load<u32>(gen + WHICH) + 1) % parameter(gen, 0);
    store<u32>(gen + WHICH, next);
    store<u32>(gen + STEP, 0);
    return control(out, CONTROL_SWITCH, <u64>next, 1);
  }
  store<u32>(gen + STEP, step + 1);
  return emitReference(gen, out, anyPage(gen), kindOf(gen));
}

/**
 * Page-table churn: each region in turn is touched, write-protected and made writable again, touched
 * (`passes` times in all) and unmapped, so that guest tables are written all the time.
 */
export function nextChurn(gen: usize, out: usize): usize {
  const region = parameter(gen, 0);
  const which = load<u32>(gen + WHICH);
  const first = <u64>load<u32>(gen, GEN_BASE) + <u64>which * <u64>region;
  const step = load<u32>(gen + STEP);
  if (step < region) {
    store<u32>(gen + STEP, step + 1);
    return emitReference(gen, out, first + <u64>step, kindOf(gen));
  }
  store<u32>(gen + STEP, 0);
  const pass = load<u32>(gen + PASS) + 1;
  if (pass < parameter(gen, 1)) {
    store<u32>(gen + PASS, pass);
    out = control(out, CONTROL_PROTECT_RO, first, region);
    return control(out, CONTROL_PROTECT_RW, first, region);
  }
  store<u32>(gen + PASS, 0);
  store<u32>(gen + WHICH, (which + 1) % parameter(gen, 2));
  return control(out, CONTROL_UNMAP, first, region);
}

/** Phases of access-tracking: what is done to each page. */
const PHASES: u32 = 5;

/**
 * The phases of KVM's access_tracking_perf_test: populate (write), write, read, then after the host
 * marked the memory idle write, and after it marked it idle again read. Repeats.
 */
export function nextAccessTracking(gen: usize, out: usize): usize {
  const step = load<u32>(gen + STEP);
  const phase = load<u32>(gen + WHICH);
  if (step == 0 && load<u32>(gen + READY) == 0) {
    store<u32>(gen + READY, 1);
    out = control(out, CONTROL_MARK, <u64>phase, 1);
    if (phase >= 3) return control(out, CONTROL_HOST, 0, 1);
    return out;
  }
  const last = step + 1 == load<u32>(gen, GEN_PAGES);
  store<u32>(gen + STEP, last ? 0 : step + 1);
  if (last) {
    store<u32>(gen + READY, 0);
    store<u32>(gen + WHICH, (phase + 1) % PHASES);
  }
  const kind = phase == 2 || phase == 4 ? ACCESS_READ : ACCESS_WRITE;
  return emitReference(gen, out, <u64>load<u32>(gen, GEN_BASE) + <u64>step, kind);
}
