// Errors that leave the library.

/** A broken invariant of the emulator itself: our bug. The VM is dead afterwards. */
export class CoreBugError extends Error {
  override readonly name = 'CoreBugError';
}

/** Input that cannot be used: says which file, line, field or option, and the fix. Exit status 1. */
export class DataError extends Error {
  override readonly name = 'DataError';
}

/** A wrong option or an impossible combination of options. Exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Linux error numbers that the emulated kernel returns (negated). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  ENOSPC: 28,
} as const;

/** A call on the emulated kernel that failed as the real one would. */
export class KvmError extends Error {
  override readonly name = 'KvmError';
  /** Errno name. */
  readonly code: keyof typeof ERRNO;

  constructor(code: keyof typeof ERRNO, message: string) {
    super(`${message} (${code})`);
    this.code = code;
  }
}
