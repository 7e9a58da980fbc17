// A schedule told as a story: one column an actor, one line a step, in the kernel's words.

import { EVENT_NAMES } from '../events/names.ts';
import { CRASH, DEADLOCK } from './search.ts';
import { STEP_CRASHED, STEP_DISABLED, System } from './system.ts';
import type { SystemDefinition } from './system.ts';

/** One step of a told schedule. */
export interface StoryStep {
  /** Index of the actor. */
  readonly actor: number;
  /** What it does: `kernel_function: what`. */
  readonly label: string;
  /** Events of the step, as tracepoint names with their words. */
  readonly events: readonly string[];
  /** The lock that it waits for afterwards, or what it waits for; null: it could go on. */
  readonly waits: string | null;
  /** True if it ended with this step. */
  readonly ended: boolean;
}

/** A told schedule. */
export interface Story {
  readonly actors: readonly string[];
  readonly steps: readonly StoryStep[];
  /** Violations that the replay met, in order. */
  readonly violations: readonly { readonly property: string; readonly detail: string }[];
}

/** Runs a schedule from the initial state and tells it. Throws if it does not fit the scenario. */
export function tell(
  definition: SystemDefinition,
  schedule: readonly number[],
  lockName: (lock: number) => string = (lock) => `lock ${lock}`,
): Story {
  const events: string[] = [];
  definition.core?.trace((id, a, b, c, d) => {
    const words = [a, b, c, d].map((word) => (word > 9 ? `0x${word.toString(16)}` : `${word}`));
    events.push(`${EVENT_NAMES[id] ?? id}(${words.join(', ')})`);
  });
  const system = new System(definition);
  const steps: StoryStep[] = [];
  const violations: { property: string; detail: string }[] = [];
  const note = (property: string, detail: string): void => {
    if (!violations.some((v) => v.property === property)) violations.push({ property, detail });
  };
  for (const actor of schedule) {
    const task = system.tasks[actor];
    if (task === undefined) throw new RangeError(`the scenario has no actor ${actor}`);
    const { blockedOn } = task;
    const before = blockedOn >= 0 ? `takes ${lockName(blockedOn)}` : task.where;
    events.length = 0;
    const outcome = system.step(actor);
    if (outcome === STEP_DISABLED) {
      throw new RangeError(`step ${steps.length + 1}: ${system.actors[actor]?.name} cannot move`);
    }
    const ended = system.finished(actor);
    const now = task.blockedOn;
    let waits: string | null = null;
    if (!ended && now >= 0 && !system.locks.available(task)) waits = lockName(now);
    else if (!ended && now < -1) waits = task.where;
    steps.push({ actor, label: before, events: [...events], waits, ended });
    for (const { property, detail } of system.sink.found) note(property, detail);
    system.sink.found.length = 0;
    if (outcome === STEP_CRASHED) note(CRASH, system.crash);
    for (const property of definition.properties) {
      const wrong = property.state?.() ?? null;
      if (wrong !== null) note(property.name, wrong);
    }
  }
  testEnd(system, note);
  definition.core?.trace(null);
  system.close();
  return { actors: system.actors.map((actor) => actor.name), steps, violations };
}

function testEnd(system: System, note: (property: string, detail: string) => void): void {
  const { actors, definition } = system;
  const stuck = actors.filter((actor, a) => !system.finished(a) && actor.daemon !== true);
  if (stuck.length === 0) {
    for (const property of definition.properties) {
      const wrong = property.end?.() ?? null;
      if (wrong !== null) note(property.name, wrong);
    }
    return;
  }
  for (let a = 0; a < actors.length; a++) {
    if (system.step(a) !== STEP_DISABLED) {
      system.undo();
      return;
    }
  }
  note(DEADLOCK, `no actor can move; waiting: ${stuck.map((actor) => actor.name).join(', ')}`);
}

/** Breaks a text into lines of at most `width`. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `  ${word}`;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

/** The story as text, `columns` wide. */
export function storyText(story: Story, columns = 100, withEvents = false): string {
  const count = story.actors.length;
  const width = Math.max(24, Math.floor((columns - 5) / count) - 2);
  const out: string[] = [];
  const row = (number: string, cells: readonly string[]): string =>
    `${number.padStart(3)}  ${cells.map((cell) => cell.padEnd(width)).join('  ')}`.trimEnd();
  out.push(row('', story.actors));
  out.push(
    row(
      '',
      story.actors.map((name) => '─'.repeat(Math.max(name.length, 8))),
    ),
  );
  story.steps.forEach((step, i) => {
    const lines = wrap(step.label, width);
    if (withEvents) for (const event of step.events) lines.push(`  · ${event}`.slice(0, width));
    if (step.waits !== null) lines.push(`  … waits for ${step.waits}`.slice(0, width));
    if (step.ended) lines.push('  ∎ ends');
    lines.forEach((line, k) => {
      const cells = story.actors.map((_, actor) => (actor === step.actor ? line : ''));
      out.push(row(k === 0 ? `${i + 1}` : '', cells));
    });
  });
  for (const { property, detail } of story.violations) out.push('', `✗ ${property}: ${detail}`);
  return `${out.join('\n')}\n`;
}
