// A reclaim run: pages are taken as the policy says until enough is free.

import * as abi from '../../../assembly/abi.ts';
import type { Task } from '../../sched/task.ts';
import type { Host } from '../host.ts';
import { RECLAIM_ACTIVATE } from '../huge-reclaim.ts';
import { RECLAIM_HUGE, RECLAIM_IO_ERROR, reclaimPage } from './reclaim-page.ts';
import { pageReferenced } from './referenced.ts';

// Arguments and locals.
const TARGET = 1;
const FREED = 2;
const PFN = 3;
const CALLEE = 4;

/** Frees s[at + 1] pages if it can; result: how many were freed. */
export function shrinkPages(t: Task, at: number, host: Host): boolean {
  const s = t.stack;
  const { policy } = host;
  for (;;) {
    switch (s[at]) {
      case 0:
        if (t.straight && host.reclaimsInCore()) {
          return t.done(at, host.core.x.straightShrink(s[at + TARGET] as number));
        }
        s[at + FREED] = 0;
        policy.begin(s[at + TARGET] as number);
        s[at] = 1;
      case 1: {
        const enough = (s[at + FREED] as number) >= (s[at + TARGET] as number);
        if (enough && policy.mayStop()) return t.done(at, s[at + FREED] as number);
        const pfn = policy.next();
        if (pfn === 0) return t.done(at, s[at + FREED] as number);
        s[at + PFN] = pfn;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = pfn;
        t.result = 0;
        s[at] = policy.asks(pfn) ? 2 : 3;
        continue;
      }
      case 2:
        if (!pageReferenced(t, at + CALLEE, host)) return false;
      case 3: {
        const verdict = policy.judge(s[at + PFN] as number, t.result);
        if (verdict !== abi.VERDICT_RECLAIM) {
          policy.putBack(s[at + PFN] as number, verdict);
          s[at] = 1;
          continue;
        }
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + PFN] as number;
        s[at] = 4;
      }
      case 4:
        if (!reclaimPage(t, at + CALLEE, host)) return false;
        if (t.result & abi.RECLAIM_FREED) {
          const pages = (t.result & RECLAIM_HUGE) !== 0 ? abi.HPAGE_PMD_NR : 1;
          s[at + FREED] = (s[at + FREED] as number) + pages;
        } else putBackUnfreed(host, s[at + PFN] as number, t.result);
        s[at] = 1;
    }
  }
}

function putBackUnfreed(host: Host, pfn: number, result: number): void {
  const activate = (result & (RECLAIM_ACTIVATE | RECLAIM_IO_ERROR)) !== 0;
  host.policy.putBack(pfn, activate ? abi.VERDICT_ACTIVATE : abi.VERDICT_KEEP);
}
