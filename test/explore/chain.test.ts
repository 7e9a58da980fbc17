// The emulator's own notifier chain under the explorer: one CPU calls, another unregisters and frees.
import { describe, expect, test } from 'vitest';
import { loadCore } from '../../src/core/load.ts';
import { search } from '../../src/explore/search.ts';
import { System, ViolationSink } from '../../src/explore/system.ts';
import { MN_INVALIDATE_PAGE, NotifierChain } from '../../src/mm/mmu-notifier.ts';
import type { ChainFreeing, ChainLock } from '../../src/mm/mmu-notifier.ts';
import { runStraight, Task } from '../../src/sched/task.ts';

const CALLEE = 2;

function scenario(chainLock: ChainLock, freeing: ChainFreeing): System {
  const core = loadCore('explore');
  const chain = new NotifierChain(core, 1);
  chain.chainLock = chainLock;
  chain.freeing = freeing;
  const ops = [0, 1].map(() => ({ invalidatePage: (): void => {} }));
  const boot = new Task(0);
  const ids = ops.map((op) => runStraight(boot, (t, at) => chain.register(t, at, op)));
  const sink = new ViolationSink();
  chain.onMisuse = (what) => sink.report('no_use_after_free', what);
  const call = (t: Task, at: number): boolean => {
    const s = t.stack;
    if (s[at] === 0) {
      s[at + CALLEE] = 0;
      s[at + CALLEE + 1] = MN_INVALIDATE_PAGE;
      s[at + CALLEE + 2] = 7;
      s[at] = 1;
    }
    return chain.call(t, at + CALLEE) && t.done(at, 0);
  };
  const leave = (t: Task, at: number): boolean => {
    const s = t.stack;
    const id = ids[0] as number;
    switch (s[at]) {
      case 0:
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = id;
        s[at] = 1;
      case 1:
        if (!chain.unregister(t, at + CALLEE)) return false;
        if (t.preempt(at, 2, 'kvm_destroy_vm: kfree')) return false;
    }
    chain.list.free(id);
    if (freeing.startsWith('type-safe')) chain.list.reuse(id, {});
    return t.done(at, 0);
  };
  return new System({
    core,
    actors: [
      { name: 'kswapd', run: call },
      { name: 'destroy', run: leave },
    ],
    properties: [],
    records: [chain.list],
    sink,
  });
}

describe('notifier chain', () => {
  test.each([
    ['none', 'at-once', true],
    ['rwlock', 'at-once', false],
    ['rcu', 'at-once', true],
    ['rcu', 'grace-period', false],
    ['rcu', 'type-safe', true],
    ['rcu', 'type-safe-recheck', false],
    ['srcu', 'grace-period', false],
    ['srcu', 'at-once', true],
  ] as const)('%s, %s: an op on a freed notifier: %s', (lock, freeing, violated) => {
    const system = scenario(lock, freeing);
    for (const reduction of [false, true]) {
      const result = search(system, { reduction });
      expect(result.exhausted).toBe(true);
      expect(result.violations.map((v) => v.property)).toEqual(
        violated ? ['no_use_after_free'] : [],
      );
      expect(result.endStates).toBeGreaterThan(0);
    }
  });
});
