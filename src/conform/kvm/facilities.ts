// What the host operations of a script need of the kernel that recorded it: an operation that the kernel does not have
// fails, and nothing happens.

import { ERRNO } from '../../core/errors.ts';
import { isSince, type KernelVersion, versionOf } from './kernel.ts';
import type { Recording } from './recording.ts';

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

/** First kernel that was recorded whose compiler did that. */
const INLINED: KernelVersion = { major: 6, minor: 12 };

/** The kernel of a recording, as far as scripts ask. */
export interface Facilities extends KernelVersion {
  /** The module that ages pages by the notifiers was loaded. */
  readonly ages: boolean;
  /** wp_page_copy(), and folio_activate() in folio_mark_accessed(), were compiled into their callers, so that the recorder
   *  did not see them. */
  readonly inlines: boolean;
}

/** The kernel of scripts that were not recorded, with all that they ask. */
export const FACILITIES: Facilities = { major: 6, minor: 1, ages: true, inlines: false };

/** What a recording tells of its kernel; the module is built for some kernels only. */
export function facilitiesOf({ kernel, steps }: Recording): Facilities {
  const failed = steps.some((step) => {
    return step.op.startsWith('h age ') && step.result?.[0]?.['errno'] === 'ENOENT';
  });
  const version = versionOf(kernel);
  const inlines =
    isSince(version, INLINED) &&
    !steps.some(({ events }) => events?.some(({ t }) => t === 'wp_page_copy') === true);
  return { ...version, ages: !failed, inlines };
}

/** Errno with which a kernel refuses an operation that it does not have; 0: it has it. */
export function refusalOf(facilities: Facilities, op: string): number {
  if (op === 'age') return facilities.ages ? 0 : ERRNO.ENOENT;
  const since = SINCE[op];
  return since === undefined || isSince(facilities, since) ? 0 : since.errno;
}
