// The standard actors by name, for scenarios that come from outside.

import { destroy, join, watchedOps, watchesPte } from './chain.ts';
import { user } from './guest.ts';
import { directIo, exit, fork, mprotect, mremap, munmap, reclaim, touch, zap } from './host.ts';
import { injector } from './inject.ts';

/** Makers of the actors of the standard scenarios. */
export const STANDARD_ACTORS = {
  destroy,
  directIo,
  exit,
  fork,
  injector,
  join,
  mprotect,
  mremap,
  munmap,
  reclaim,
  touch,
  user,
  watchedOps,
  watchesPte,
  zap,
} as const;
