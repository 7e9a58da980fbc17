// V8's sampling profiler around a piece of work, and what its samples say by function. Frames of the
// core carry the names of its functions, since the core is shipped with its name section.

import { Session, type Profiler } from 'node:inspector';

/** Time in one function, in nanoseconds. */
export interface FunctionTime {
  readonly name: string;
  /** Where it runs: the Wasm core, the TypeScript host, or V8 itself. */
  readonly side: 'core' | 'host' | 'engine';
  readonly selfNs: number;
  /** With everything that it called; recursion counted once. */
  readonly totalNs: number;
}

/** A profile as Chrome DevTools and speedscope read it. */
export type CpuProfile = Profiler.Profile;

function post<T>(session: Session, method: string, params?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    session.post(method, params, (error: Error | null, result?: object) => {
      if (error) reject(error);
      else resolve(result as T);
    });
  });
}

/** When the work began and ended, in microseconds of the clock that the profile's times are of (CLOCK_MONOTONIC). */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A profile, and when the work ran. */
export interface RecordedProfile {
  readonly profile: CpuProfile;
  readonly window: Window;
}

function monotonicMicros(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Runs `work` under the profiler. */
export async function recordProfile(
  work: () => Promise<void>,
  intervalUs: number,
): Promise<RecordedProfile> {
  const session = new Session();
  session.connect();
  try {
    await post(session, 'Profiler.enable');
    await post(session, 'Profiler.setSamplingInterval', { interval: intervalUs });
    await post(session, 'Profiler.start');
    const from = monotonicMicros();
    await work();
    const window = { from, to: monotonicMicros() };
    const { profile } = await post<{ profile: CpuProfile }>(session, 'Profiler.stop');
    return { profile, window };
  } finally {
    session.disconnect();
  }
}

function sideOf({
  url,
  functionName,
}: CpuProfile['nodes'][number]['callFrame']): FunctionTime['side'] {
  if (url.startsWith('wasm://')) return 'core';
  return functionName.startsWith('(') && url === '' ? 'engine' : 'host';
}

function nameOf({
  functionName,
  url,
  lineNumber,
}: CpuProfile['nodes'][number]['callFrame']): string {
  if (url.startsWith('wasm://')) return functionName.replace(/^assembly\//, '');
  const file = url.split('/').at(-1) ?? '';
  if (functionName !== '') return functionName;
  return file === '' ? '(anonymous)' : `(anonymous) ${file}:${lineNumber + 1}`;
}

/**
 * Self time of each node in microseconds, from the samples and the time between them inside the window: on a busy
 * machine the profiler waits long before the work, and after it.
 */
function selfMicros(profile: CpuProfile, { from, to }: Window): Map<number, number> {
  const self = new Map<number, number>();
  const samples = profile.samples ?? [];
  const deltas = profile.timeDeltas ?? [];
  let at = profile.startTime;
  // Deltas may be negative: no time is a second sample's, too.
  let covered = from;
  samples.forEach((node, i) => {
    // A delta leads up to its sample: the time until the next one is this sample's.
    at += deltas[i] ?? 0;
    const start = Math.max(at, covered);
    const end = Math.max(start, Math.min(at + (deltas[i + 1] ?? 0), to));
    self.set(node, (self.get(node) ?? 0) + end - start);
    covered = end;
  });
  return self;
}

/** Time by function within a window, most self time first. */
export function functionTimes(profile: CpuProfile, window: Window): FunctionTime[] {
  const self = selfMicros(profile, window);
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const times = new Map<
    string,
    { name: string; side: FunctionTime['side']; self: number; total: number }
  >();
  const add = (id: number, onStack: ReadonlySet<string>): number => {
    const node = nodes.get(id);
    if (!node) return 0;
    const side = sideOf(node.callFrame);
    const name = nameOf(node.callFrame);
    const key = `${side} ${name}`;
    const inner = new Set(onStack).add(key);
    const own = self.get(id) ?? 0;
    const total = (node.children ?? []).reduce((sum, child) => sum + add(child, inner), own);
    const entry = times.get(key) ?? { name, side, self: 0, total: 0 };
    entry.self += own;
    if (!onStack.has(key)) entry.total += total;
    times.set(key, entry);
    return total;
  };
  const root = profile.nodes[0];
  if (root) add(root.id, new Set());
  return [...times.values()]
    .filter(({ name }) => name !== '(root)')
    .map(({ name, side, self: own, total }) => ({
      name,
      side,
      selfNs: own * 1000,
      totalNs: total * 1000,
    }))
    .toSorted((a, b) => b.selfNs - a.selfNs);
}

/** Sum of the self times of a side. */
export function sideNs(times: readonly FunctionTime[], side: FunctionTime['side']): number {
  return times.reduce((sum, time) => (time.side === side ? sum + time.selfNs : sum), 0);
}
