// Amounts that people write: `25%`, `64MiB`, `4096pages`.

import { PAGE_SIZE } from '../assembly/abi.ts';
import { UsageError } from './core/errors.ts';

/** A size of memory: pages, or a share of the workload's footprint. */
export type MemorySize = { readonly pages: number } | { readonly share: number };

const UNITS: Readonly<Record<string, number>> = {
  pages: PAGE_SIZE,
  page: PAGE_SIZE,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
};

/** Largest host that 32-bit frame numbers in linear memory allow: 64 GiB of frames. */
export const MAX_PAGES = 1 << 24;

/** Reads a size; `option` names it in the error. */
export function parseMemorySize(text: string, option: string): MemorySize {
  const match = /^(\d+(?:\.\d+)?)\s*(%|[A-Za-z]+)$/.exec(text);
  const amount = match ? Number(match[1]) : Number.NaN;
  if (match?.[2] === '%') {
    if (amount > 0 && amount <= 10_000) return { share: amount / 100 };
    throw new UsageError(`${option} ${text}: a share must be above 0% and at most 10000%`);
  }
  const unit = match ? UNITS[match[2] as string] : undefined;
  if (unit === undefined) {
    throw new UsageError(`${option} ${text}: expected a size such as 25%, 64MiB or 4096pages`);
  }
  const pages = Math.floor((amount * unit) / PAGE_SIZE);
  if (pages < 1)
    throw new UsageError(`${option} ${text}: less than one page of ${PAGE_SIZE} bytes`);
  if (pages > MAX_PAGES) {
    throw new UsageError(`${option} ${text}: more than ${MAX_PAGES} pages are not supported`);
  }
  return { pages };
}

/** A whole number within bounds. */
export function parseCount(text: string, option: string, min: number, max: number): number {
  const value = /^\d+$/.test(text.replaceAll('_', ''))
    ? Number(text.replaceAll('_', ''))
    : Number.NaN;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new UsageError(`${option} ${text}: expected a whole number from ${min} to ${max}`);
}

/** Geometry of a two-level TLB. */
export interface TlbGeometry {
  readonly l1Sets: number;
  readonly l1Ways: number;
  readonly l2Sets: number;
  readonly l2Ways: number;
}

/** 64 entries, 4 ways, and 1536 entries, 12 ways, as Intel's cores of the Skylake family. */
export const DEFAULT_TLB: TlbGeometry = { l1Sets: 16, l1Ways: 4, l2Sets: 128, l2Ways: 12 };

/** Reads `64x4,1536x12` (entries x ways of the L1 and of the L2). */
export function parseTlb(text: string, option: string): TlbGeometry {
  const match = /^(\d+)x(\d+),(\d+)x(\d+)$/.exec(text);
  if (!match) {
    throw new UsageError(`${option} ${text}: expected ENTRIESxWAYS,ENTRIESxWAYS, as 64x4,1536x12`);
  }
  const [l1, l1Ways, l2, l2Ways] = match.slice(1).map(Number) as [number, number, number, number];
  const sets = (entries: number, ways: number): number => {
    const n = entries / ways;
    if (
      ways < 1 ||
      ways > 16 ||
      !Number.isInteger(n) ||
      n < 1 ||
      (n & (n - 1)) !== 0 ||
      n > 65536
    ) {
      throw new UsageError(
        `${option} ${text}: ${entries} entries of ${ways} ways: ways are 1 to 16 and sets a power of two`,
      );
    }
    return n;
  };
  return { l1Sets: sets(l1, l1Ways), l1Ways, l2Sets: sets(l2, l2Ways), l2Ways };
}
