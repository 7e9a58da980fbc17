// What stands between the guest of a recording (guest.ts) and the machine that runs it
// (recorded-vcpu.ts): the accesses that instructions make, and how they end.

/** How one access ended. */
export type AccessOutcome =
  | { readonly kind: 'done'; readonly emulated?: true }
  | { readonly kind: 'fault'; readonly code: number }
  | {
      readonly kind: 'mmio';
      readonly gpa: number;
      readonly value: number;
      readonly write: boolean;
    }
  /** An exchange finds something else than it loaded: the instruction runs again. */
  | { readonly kind: 'again' }
  /** An instruction could not be emulated; at CPL 0 the VMM is told, at CPL 3 the guest gets a #UD. */
  | { readonly kind: 'unhandled' }
  | { readonly kind: 'error'; readonly errno: string };

/** An exception that the processor delivers. */
export interface Exception {
  readonly vector: number;
  /** Null: this one has no error code. */
  readonly code: number | null;
  /** Whether KVM injects it, or the processor delivers it by itself; absent: as the last access ended. */
  readonly byKvm?: boolean;
}

/** Value that a store writes: up to 8 bytes in two words. */
export interface Store {
  readonly bytes: number;
  readonly lo: number;
  readonly hi: number;
}

/** What the guest's instructions need of the machine. */
export interface GuestPort {
  /** One memory access at CPL 0 or 3; a store's value goes where the translation leads. */
  access(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
  ): AccessOutcome;
  /** An operand of an instruction that KVM fetched, and runs. */
  operand(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
  ): AccessOutcome;
  /** One locked access that reads and writes. */
  readModifyWrite(vpn: number, offset: number, flags: number): AccessOutcome;
  /** The vCPU runs again after an exit for an MMIO read, at a CPL (0 or ACCESS_SUPERVISOR). */
  completeRead(cpl: number): AccessOutcome;
  /** Bytes at the place that the last access translated to. */
  loaded(bytes: number): bigint;
  /** The page that the last access translated to, until the next one. */
  page(): Uint8Array;
  /** KVM looks at an instruction that the processor does not know. */
  undefinedOpcode(vpn: number, offset: number): void;
  /** Starts and ends the delivery of an exception; a fault meanwhile is injected anew. */
  delivering(exception: Exception | null): void;
  cr3(gfn: number): AccessOutcome;
  cr0(value: number): AccessOutcome;
  cr4(value: number): AccessOutcome;
  invlpg(vpn: number, offset: number): AccessOutcome;
  /** The stub is through: an I/O exit. */
  ioExit(): void;
}
