// Operations that the host makes while the guest runs. A control record CONTROL_HOST names one by
// its index in the workload's list; the machine carries it out between two guest accesses.

/** Advice of madvise() that the host mm knows. */
export const MADVICE = ['dontneed', 'cold', 'pageout', 'free', 'willneed'] as const;
export type Madvice = (typeof MADVICE)[number];

/** A range of host virtual pages: offset in pages into the guest's memory, and number of pages. */
export interface HostRange {
  readonly page: number;
  readonly pages: number;
}

/** One operation of the host. Pages count from the guest's first data page. */
export type HostOperation =
  | ({ readonly op: 'madvise'; readonly advice: Madvice } & HostRange)
  /** Unmaps the range and maps fresh anonymous memory in its place. */
  | ({ readonly op: 'munmap' } & HostRange)
  | ({ readonly op: 'mprotect'; readonly writable: boolean } & HostRange)
  /** Moves the range elsewhere in the host's address space and back. */
  | ({ readonly op: 'mremap' } & HostRange)
  /** The VMM forks; the child exits at once, or stays and shares the memory copy-on-write. */
  | { readonly op: 'fork'; readonly stays: boolean }
  /** The VMM itself reads or writes guest memory through its own mapping. */
  | ({ readonly op: 'read' } & HostRange)
  | ({ readonly op: 'write' } & HostRange)
  /** A device writes guest memory that get_user_pages() pinned. */
  | ({ readonly op: 'direct_io' } & HostRange)
  /** Reclaims so many pages, as if other processes needed them. */
  | { readonly op: 'reclaim'; readonly pages: number }
  /** Changes the number of frames that the guest may use. */
  | { readonly op: 'limit'; readonly frames: number }
  /** Marks all guest memory idle: page_referenced on every page, as the aging protocol does it. */
  | { readonly op: 'mark_idle' }
  /** NUMA balancing makes a range PROT_NONE, which zaps its sptes, and accessible again. */
  | ({ readonly op: 'numa_hint' } & HostRange)
  /** Another subsystem registers or unregisters a notifier on the guest's mm. */
  | { readonly op: 'register_notifier'; readonly name: string }
  | { readonly op: 'unregister_notifier'; readonly name: string };
