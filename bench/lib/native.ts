// Builds and runs the native references of bench/native when a C compiler is there.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

const SOURCES = new URL('../bench/native/', import.meta.url).pathname;
const OUT = `${SOURCES}build/`;

/** Builds the references; undefined when there is no C compiler. */
export function buildNative(): string | undefined {
  const version = spawnSync('cc', ['--version'], { encoding: 'utf8' });
  if (version.status !== 0) return undefined;
  mkdirSync(OUT, { recursive: true });
  for (const name of ['replay', 'loops']) {
    const flags = ['-O3', '-std=gnu11', '-Wall', '-Wextra'];
    execFileSync('cc', [...flags, '-o', OUT + name, `${SOURCES}${name}.c`], { stdio: 'inherit' });
  }
  return (version.stdout.split('\n')[0] as string).trim();
}

/** Runs a reference and returns the one JSON object that it prints. */
export function native(program: 'replay' | 'loops', ...args: readonly string[]): Counts {
  const out = execFileSync(OUT + program, args, { encoding: 'utf8', maxBuffer: 1 << 20 });
  return JSON.parse(out) as Counts;
}

/** What a reference prints. */
export type Counts = Readonly<Record<string, number>> & { readonly ns: number };
