// What the host operations of a script need of the kernel that recorded it: an operation that the kernel does not have
// fails, and nothing happens. Recordings are compared by the rules of 6.1, whatever the kernel.

import { ERRNO } from '../../core/errors.ts';
import { MM_GENERATIONS, type MmGeneration } from '../../mm/generation.ts';
import type { Recording } from './recording.ts';

/** The first two numbers of a kernel's version. */
export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

/** First kernel with an operation, and how an older one refuses it. */
interface Since extends KernelVersion {
  readonly errno: number;
}

/** Files of sysfs and cgroupfs, and advices of madvise(2) (man-pages 6.7, madvise(2); Documentation/admin-guide). */
const SINCE: Readonly<Record<string, Since>> = {
  reclaim: { major: 5, minor: 19, errno: ERRNO.ENOENT },
  lru_gen: { major: 6, minor: 1, errno: ERRNO.ENOENT },
  collapse: { major: 6, minor: 1, errno: ERRNO.EINVAL },
  populate_read: { major: 5, minor: 14, errno: ERRNO.EINVAL },
  populate_write: { major: 5, minor: 14, errno: ERRNO.EINVAL },
};

/** First kernel that was recorded whose MADV_PAGEOUT asks no more. */
const PAGEOUT_ASKS_NOT: KernelVersion = { major: 6, minor: 12 };

/** The kernel of a recording, as far as scripts ask. */
export interface Facilities extends KernelVersion {
  /** The module that ages pages by the notifiers was loaded. */
  readonly ages: boolean;
}

/** The kernel whose rules the emulator follows, with all that scripts ask. */
export const FACILITIES: Facilities = { major: 6, minor: 1, ages: true };

/** Whether a kernel is the one whose rules the emulator follows. */
export function isOurKernel({ major, minor }: KernelVersion): boolean {
  return major === FACILITIES.major && minor === FACILITIES.minor;
}

/** Version of a kernel by its release (uname -r). */
export function versionOf(release: string): KernelVersion {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return { major: Number(major), minor: Number(minor) };
}

/** What a recording tells of its kernel; the module is built for some kernels only. */
export function facilitiesOf({ kernel, steps }: Recording): Facilities {
  const failed = steps.some((step) => {
    return step.op.startsWith('h age ') && step.result?.[0]?.['errno'] === 'ENOENT';
  });
  return { ...versionOf(kernel), ages: !failed };
}

/** Whether a kernel is as new as another. */
function isSince(kernel: KernelVersion, { major, minor }: KernelVersion): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

/** The host mm's rules under which a script's guest sees the same: those of 6.1 but for what decides that. */
export function mmGenerationOf(kernel: KernelVersion): MmGeneration {
  return { ...MM_GENERATIONS['6.1'], pageoutAsks: !isSince(kernel, PAGEOUT_ASKS_NOT) };
}

/** Errno with which a kernel refuses an operation that it does not have; 0: it has it. */
export function refusalOf(facilities: Facilities, op: string): number {
  if (op === 'age') return facilities.ages ? 0 : ERRNO.ENOENT;
  const since = SINCE[op];
  return since === undefined || isSince(facilities, since) ? 0 : since.errno;
}
