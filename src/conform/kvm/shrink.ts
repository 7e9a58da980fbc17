// Makes a failing script short. Many shorter scripts are tried together, since a boot of the real KVM runs
// many as fast as one.

/** Lines at the head of a script that say what it is; they stay. */
const HEADER = 3;

/** Says of each script whether it fails. */
export type Fails = (scripts: readonly (readonly string[])[]) => readonly boolean[];

/** Lines [from, end) of a script. */
interface Part {
  readonly from: number;
  readonly end: number;
}

function partsOf(script: readonly string[], size: number): Part[] {
  const parts: Part[] = [];
  for (let end = script.length; end > HEADER; end -= size) {
    parts.push({ from: Math.max(end - size, HEADER), end });
  }
  return parts;
}

/** The script without some of its parts, which are in order from its end. */
function without(script: readonly string[], parts: readonly Part[]): string[] {
  const lines = [...script];
  for (const { from, end } of parts) lines.splice(from, end - from);
  return lines;
}

/** All, the first half, the first quarter … of a list. */
function halves<T>(list: readonly T[]): T[][] {
  const out: T[][] = [];
  for (let n = list.length; n >= 1; n >>= 1) out.push(list.slice(0, n));
  return out;
}

/**
 * Drops lines as long as the script goes on failing: half of it first, then ever smaller parts. Parts that it
 * does without one by one are dropped together where that fails too.
 */
export function shrink(script: readonly string[], fails: Fails): string[] {
  let best = [...script];
  for (let size = best.length >> 1; size >= 1; size >>= 1) {
    for (;;) {
      const parts = partsOf(best, size);
      const each = fails(parts.map((part) => without(best, [part])));
      const needless = parts.filter((_, i) => each[i]);
      if (needless.length === 0) break;
      const together = halves(needless).map((some) => without(best, some));
      // The last of them is one part, which is known to fail.
      const tried = together.length > 1 ? fails(together.slice(0, -1)) : [];
      const found = tried.indexOf(true);
      best = together.at(found) ?? best;
    }
  }
  return best;
}
