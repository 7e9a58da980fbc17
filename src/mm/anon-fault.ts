// A fault at an anonymous page that nothing maps yet (cf. do_anonymous_page() in mm/memory.c,
// do_huge_pmd_anonymous_page() in mm/huge_memory.c, 6.1): a page of zeros, small or huge. Both pieces
// run under the page-table lock, after room was made without it, so they look at the pte again.

import * as abi from '../../assembly/abi.ts';
import type { Task } from '../sched/task.ts';
import { ANON, ARGS, CLASSIFY, ENOMEM, HVN, RESULT, RETURN, charge } from './fault-frame.ts';
import { hugeAlign } from './huge-memory.ts';
import type { Mm } from './mm.ts';

/** do_anonymous_page: a new page, or the zero page for a read. */
export function anonymous(t: Task, at: number, mm: Mm): void {
  const s = t.stack;
  const { x } = mm.host.core;
  const hvn = s[at + HVN] as number;
  const args = s[at + ARGS] as number;
  s[at] = RETURN;
  // Another fault may have mapped the page while this one made room.
  if (t.preemptive && x.hpteGet(mm.id, hvn) !== 0) {
    s[at] = CLASSIFY;
    return;
  }
  if (mm.host.generation.zeroPage && (args & abi.MAP_WRITE_FAULT) === 0) {
    x.mapZeroPage(mm.id, hvn);
  } else if (x.doAnonymousPage(mm.id, hvn, args) === 0) {
    s[at + RESULT] = ENOMEM;
  }
}

/** do_huge_pmd_anonymous_page: without room for 512 pages the fault makes a small one. */
export function anonymousHuge(t: Task, at: number, mm: Mm): void {
  const s = t.stack;
  const { host } = mm;
  const { x } = host.core;
  const first = hugeAlign(s[at + HVN] as number);
  const args = s[at + ARGS] as number;
  s[at] = RETURN;
  if (t.preemptive && x.hpmdNone(mm.id, first) === 0) {
    s[at] = CLASSIFY;
    return;
  }
  const zero = (args & abi.MAP_WRITE_FAULT) === 0;
  const charged = (args & abi.MAP_CHARGED) !== 0;
  const room = zero || !charged || host.charged() + abi.HPAGE_PMD_NR <= host.room;
  if (room) {
    const made = zero ? x.mapHugeZeroPage(mm.id, first) : x.doHugeAnonymousPage(mm.id, first, args);
    if (made !== 0) return;
  }
  if (zero) s[at] = ANON;
  else charge(s, at, mm, ANON);
}
