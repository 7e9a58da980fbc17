// The search against a brute-force enumeration that shares no code with it: random programs of a
// few reads, writes, locks and waits, run by an interpreter over plain objects on one side and as
// tasks under the explorer on the other. Sleep sets must keep every state, at its depth.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEADLOCK, search } from '../../src/explore/search.ts';
import { System } from '../../src/explore/system.ts';
import type { Actor, SystemDefinition } from '../../src/explore/system.ts';
import { SharedWords } from '../../src/explore/words.ts';
import type { Task } from '../../src/sched/task.ts';

type Op =
  | { readonly op: 'add'; readonly word: number; readonly by: number }
  | { readonly op: 'copy'; readonly from: number; readonly to: number }
  | { readonly op: 'lock' | 'unlock' | 'waitZero'; readonly word: number }
  | { readonly op: 'loop'; readonly word: number };
type Program = readonly Op[];

const WORDS = 3;

interface Plain {
  pc: number[];
  words: number[];
  locks: number[];
}

/** One step of an actor of the plain machine; null: it cannot move. */
function plainStep(programs: readonly Program[], state: Plain, actor: number): Plain | null {
  const program = programs[actor] as Program;
  const pc = state.pc[actor] as number;
  const op = program[pc];
  if (op === undefined) return null;
  const next: Plain = structuredClone(state);
  next.pc[actor] = pc + 1;
  const get = (i: number): number => state.words[i] as number;
  if (op.op === 'add') next.words[op.word] = (get(op.word) + op.by) & 3;
  else if (op.op === 'copy') next.words[op.to] = get(op.from);
  else if (op.op === 'waitZero') {
    if (get(op.word) !== 0) return null;
  } else if (op.op === 'loop') {
    if (get(op.word) !== 0) next.pc[actor] = 0;
  } else if (op.op === 'lock') {
    if (state.locks[op.word] !== 0) return null;
    next.locks[op.word] = actor + 1;
  } else if (state.locks[op.word] === actor + 1) next.locks[op.word] = 0;
  return next;
}

/** Every reachable state with its depth, and whether one is a deadlock. */
function enumerate(programs: readonly Program[]): { depths: Map<string, number>; stuck: number } {
  const root: Plain = {
    pc: programs.map(() => 0),
    words: Array.from({ length: WORDS }, () => 0),
    locks: Array.from({ length: WORDS }, () => 0),
  };
  const depths = new Map([[JSON.stringify(root), 0]]);
  const queue = [root];
  let stuck = 0;
  for (const state of queue) {
    const depth = depths.get(JSON.stringify(state)) as number;
    let moved = false;
    programs.forEach((_, actor) => {
      const next = plainStep(programs, state, actor);
      if (next === null) return;
      moved = true;
      const key = JSON.stringify(next);
      if (depths.has(key)) return;
      depths.set(key, depth + 1);
      queue.push(next);
    });
    const ended = programs.every((program, actor) => state.pc[actor] === program.length);
    if (!moved && !ended) stuck++;
  }
  return { depths, stuck };
}

function interpreter(program: Program, words: SharedWords) {
  return (t: Task, at: number): boolean => {
    const s = t.stack;
    for (;;) {
      const pc = s[at] as number;
      const op = program[pc];
      if (op === undefined) return t.done(at, 0);
      if (op.op === 'lock') {
        if (!t.lock(at, pc, op.word)) return false;
      } else if (op.op === 'unlock') {
        if (t.locks?.acquire !== undefined && holds(t, op.word)) t.unlock(op.word);
      } else if (op.op === 'waitZero') {
        if (!t.wait(at, pc, words.get(op.word) === 0, 'wait')) return false;
      } else if (op.op === 'add') words.set(op.word, (words.get(op.word) + op.by) & 3);
      else if (op.op === 'copy') words.set(op.to, words.get(op.from));
      const jump = op.op === 'loop' && words.get(op.word) !== 0;
      const next = jump ? 0 : pc + 1;
      // The last step ends the task at once: the plain machine has no state in between.
      s[at] = next;
      if (next === program.length) return end(t, at, next);
      if (t.preempt(at, next, `op ${next}`)) return false;
    }
  };
}

/** Ends a task but keeps its program counter, as the plain machine does. */
function end(t: Task, at: number, pc: number): true {
  t.stack[at] = pc;
  return true;
}

function holds(t: Task, lock: number): boolean {
  return (t.locks as unknown as { holds(task: number, lock: number): boolean }).holds(t.id, lock);
}

function define(programs: readonly Program[]): { system: System; words: SharedWords } {
  const words = new SharedWords(WORDS);
  const actors: Actor[] = programs.map((program, i) => ({
    name: `p${i}`,
    run: interpreter(program, words),
  }));
  const definition: SystemDefinition = { actors, properties: [], words };
  return { system: new System(definition), words };
}

const word = fc.integer({ min: 0, max: WORDS - 1 });
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('add' as const), word, by: fc.constant(1) }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('copy' as const), from: word, to: word }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constantFrom('lock' as const, 'unlock' as const, 'waitZero' as const),
      word,
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('loop' as const), word }) },
);
const programs = fc.array(fc.array(op, { minLength: 1, maxLength: 5 }), {
  minLength: 2,
  maxLength: 4,
});

/** States are lost here if an actor that sleeps in a state is not woken when it is reached again. */
const NEEDS_WAKING: Program[] = [
  [
    { op: 'unlock', word: 2 },
    { op: 'lock', word: 2 },
    { op: 'loop', word: 0 },
    { op: 'copy', from: 0, to: 0 },
  ],
  [{ op: 'add', word: 0, by: 1 }],
  [{ op: 'add', word: 0, by: 1 }],
];

describe('exhaustive search', () => {
  test('visits exactly the states of a brute-force enumeration', () => {
    let slept = 0;
    fc.assert(
      fc.property(programs, (list) => {
        const expected = enumerate(list);
        const { system } = define(list);
        const full = search(system, { reduction: false });
        const reduced = search(system);
        expect(full.states).toBe(expected.depths.size);
        expect(reduced.states).toBe(expected.depths.size);
        const depth = Math.max(...expected.depths.values());
        expect(full.depth).toBe(depth);
        expect(reduced.depth).toBe(depth);
        const deadlocks = expected.stuck > 0;
        expect(full.violations.some((v) => v.property === DEADLOCK)).toBe(deadlocks);
        expect(reduced.violations.some((v) => v.property === DEADLOCK)).toBe(deadlocks);
        expect(reduced.transitions).toBeLessThanOrEqual(full.transitions);
        slept += reduced.slept;
      }),
      { numRuns: 150, seed: 6, examples: [[NEEDS_WAKING]] },
    );
    expect(slept).toBeGreaterThan(300);
  });

  test('finds a shortest schedule to every value of the words', () => {
    fc.assert(
      fc.property(
        programs,
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 3, maxLength: 3 }),
        (list, target) => {
          const { depths } = enumerate(list);
          let best = Infinity;
          for (const [key, depth] of depths) {
            const { words } = JSON.parse(key) as Plain;
            if (words.every((w, i) => w === target[i])) best = Math.min(best, depth);
          }
          for (const reduction of [false, true]) {
            const words = new SharedWords(WORDS);
            const system = new System({
              actors: list.map((program, i) => ({
                name: `p${i}`,
                run: interpreter(program, words),
              })),
              words,
              properties: [
                {
                  name: 'reached',
                  says: 'the target is not reached',
                  state: () => (target.every((w, i) => words.peek(i) === w) ? 'reached' : null),
                },
              ],
            });
            const found = search(system, { reduction }).violations.find(
              (v) => v.property === 'reached',
            );
            expect(found?.schedule.length ?? Infinity).toBe(best);
          }
        },
      ),
      { numRuns: 80, seed: 7 },
    );
  });

  test('a preemption bound of 0 runs each actor to its end, a large one changes nothing', () => {
    const list: Program[] = [0, 1].map(() => [
      { op: 'add', word: 0, by: 1 },
      { op: 'add', word: 1, by: 1 },
      { op: 'add', word: 2, by: 1 },
    ]);
    const { system } = define(list);
    expect(search(system, { preemptions: 0 }).depth).toBe(6);
    // Two orders of two actors: 1 + 2 * 6 - 1 states, the last one shared up to who came last.
    expect(search(system, { preemptions: 0 }).states).toBe(13);
    const all = search(system, { reduction: false });
    expect(all.states).toBe(16);
    expect(search(system, { preemptions: 9 }).exhausted).toBe(true);
  });

  test('refuses an actor that reads what is no state', () => {
    let hidden = 0;
    const run = (t: Task, at: number): boolean => {
      const s = t.stack;
      s[at + 1] = hidden++ & 0xff;
      return !t.preempt(at, (s[at] as number) ^ 1, 'reads a variable') && t.done(at, 0);
    };
    const words = new SharedWords(1);
    const counter: Program = Array.from({ length: 300 }, () => ({ op: 'add', word: 0, by: 1 }));
    const actors = [
      { name: 'hider', run },
      { name: 'counter', run: interpreter(counter, words) },
    ];
    const system = new System({ actors, properties: [], words });
    expect(() => search(system, { reduction: false })).toThrow(
      /hider: a step did something else in the same state/,
    );
  });

  test('says when it is out of its limits', () => {
    const { system } = define(
      [[], [], []].map(() =>
        Array.from({ length: 30 }, () => ({ op: 'add', word: 0, by: 1 }) as const),
      ),
    );
    const result = search(system, { maxStates: 500 });
    expect(result).toMatchObject({ exhausted: false, stopped: 'states' });
    expect(search(system, { memory: 1000 })).toMatchObject({ exhausted: false, stopped: 'memory' });
  });
});
