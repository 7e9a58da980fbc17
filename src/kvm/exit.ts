// Why a vCPU stopped (cf. struct kvm_run). One object a vCPU is reused, so a run allocates nothing.

/** Reasons; the comment names the KVM counterpart. */
export type VmExitKind =
  /** The batch is done. */
  | 'done'
  /** A #PF was injected: the guest kernel's handler runs (not an exit of real KVM). */
  | 'guest_page_fault'
  /** A control record. */
  | 'control'
  /** KVM_EXIT_MMIO: no memslot, or a write to a read-only one. */
  | 'mmio'
  /** KVM_RUN failed with an errno: the host page can't be had. */
  | 'memory_fault'
  /** #GP: the address is not canonical. */
  | 'noncanonical'
  /** A version stamp was wrong. */
  | 'verify';

/** An exit; `consumed` records of the batch were executed before it. */
export interface VmExit {
  readonly kind: VmExitKind;
  readonly consumed: number;
  /** Page-aligned gva of the access, low and high word. */
  readonly gvaLo: number;
  readonly gvaHi: number;
  /** #PF error code (guest_page_fault), errno (memory_fault), else 0. */
  readonly code: number;
  /** gfn (mmio; memory_fault: of the page that can't be had, NO_GFN if it is no single one), else 0. */
  readonly gfn: number;
}

/** The writable side of a VmExit. */
export type MutableVmExit = { -readonly [K in keyof VmExit]: VmExit[K] };
