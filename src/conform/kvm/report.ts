// Prints what checkRecording() found: a line a recording, the first difference in two columns, and
// `N passed, M failed` for each level.

import type { Level } from './levels.ts';
import type { LevelResult, RecordingResult } from './check.ts';
import { diffRows, formatDiff } from './diff.ts';
import { generationOf, hasGeneration, versionOf } from './kernel.ts';

/** Sum of one level over all recordings. */
export interface LevelSummary {
  readonly level: Level;
  readonly passed: number;
  readonly failed: number;
  readonly steps: number;
  readonly agreeing: number;
}

/** Sums the levels up to `level`. */
export function summarize(results: readonly RecordingResult[], level: Level): LevelSummary[] {
  const out: LevelSummary[] = [];
  for (let at = 1; at <= level; at++) {
    const all = results.map((r) => r.levels[at - 1] as LevelResult);
    const passed = all.filter((l) => l.passed).length;
    const sum = (pick: (l: LevelResult) => number): number => all.reduce((n, l) => n + pick(l), 0);
    out.push({
      level: at as Level,
      passed,
      failed: all.length - passed,
      steps: sum((l) => l.steps),
      agreeing: sum((l) => l.agreeing),
    });
  }
  return out;
}

function cell(level: LevelResult): string {
  if (level.passed) return `L${level.level} ok`;
  if (level.first === null) return `L${level.level} FAILED`;
  return `L${level.level} step ${level.first.step} (${level.agreeing}/${level.steps})`;
}

/** Number of a kernel's release, without what the distribution adds. */
function releaseOf({ kernel }: RecordingResult): string {
  return kernel.split('-')[0] as string;
}

/** Says by which rules recordings of kernels that have no generation of their own were run. */
function kernelNotes(results: readonly RecordingResult[]): string[] {
  const others = results.filter(({ kernel }) => !hasGeneration(versionOf(kernel)));
  const kernels = [...new Set(others.map(releaseOf))].toSorted();
  return kernels.map((kernel) => {
    const count = others.filter((result) => releaseOf(result) === kernel).length;
    const rules = generationOf(versionOf(kernel));
    return `${count} of Linux ${kernel}: run by the rules of ${rules}, so that only level 1 is expected to agree`;
  });
}

/** One line for a recording. */
export function recordingLine(result: RecordingResult, level: Level): string {
  const notes = ` ${releaseOf(result)}${result.pressure ? ' pressure' : ''}`;
  const label = `${result.name} npt=${result.npt}${notes}`;
  const cells = result.levels.slice(0, level).map((l) => cell(l).padEnd(22));
  const error = result.error === null ? '' : ` error: ${result.error}`;
  return `${label.padEnd(46)} ${cells.join('')}${error}`.trimEnd();
}

/** The first differing step of a recording at a level, as a two-column diff. */
export function differenceText(
  result: RecordingResult,
  level: LevelResult,
  columns: number,
): string[] {
  const out: string[] = [];
  if (level.first === null) return out;
  const { step, op, differences } = level.first;
  out.push(
    `${result.name} npt=${result.npt}: level ${level.level} differs first at step ${step}: ${op}`,
  );
  for (const difference of differences) {
    out.push(`  ${difference.what}: recorded | emulated`);
    const rows = diffRows(difference.recorded, difference.emulated);
    out.push(...formatDiff(rows, columns - 4).map((line) => `    ${line}`));
  }
  return out;
}

/** The whole report. */
export function formatReport(
  results: readonly RecordingResult[],
  level: Level,
  columns: number,
): string[] {
  const out = results.map((result) => recordingLine(result, level));
  for (const result of results) {
    for (const total of result.totals) {
      if (total.within || level < 3) continue;
      out.push(
        `${result.name} npt=${result.npt}: ${total.name}: recorded ${total.recorded}, emulated ${total.emulated}`,
      );
    }
  }
  for (let at = 1; at <= level; at++) {
    const failed = results.find(
      (r) => r.levels[at - 1]?.passed === false && r.levels[at - 1]?.first,
    );
    if (!failed) continue;
    out.push('', ...differenceText(failed, failed.levels[at - 1] as LevelResult, columns));
  }
  out.push('', ...kernelNotes(results));
  for (const s of summarize(results, level)) {
    out.push(
      `L${s.level}: ${s.passed} passed, ${s.failed} failed (${s.agreeing} of ${s.steps} steps agree)`,
    );
  }
  return out;
}
