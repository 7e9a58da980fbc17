// What the core imports from the host. Calls are made only where the host may act without seeing
// half-updated tables; a handler must not call back into the core.

/** An event of the stream (EVENT_* in abi.ts) with up to four words; only called while tracing. */
export declare function event(id: u32, a: u32, b: u32, c: u32, d: u32): void;
