// Views of linear memory. Growth detaches them, so they are fetched through the getters each time
// and never kept across a call into the core.

/** Typed views of one core's linear memory. */
export class CoreMemory {
  readonly memory: WebAssembly.Memory;
  #u8: Uint8Array;
  #u32: Uint32Array;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
  }

  /** Bytes of linear memory. */
  get u8(): Uint8Array {
    if (this.#u8.length === 0) this.#u8 = new Uint8Array(this.memory.buffer);
    return this.#u8;
  }

  /** Words of linear memory: index = byte address / 4. */
  get u32(): Uint32Array {
    if (this.#u32.length === 0) this.#u32 = new Uint32Array(this.memory.buffer);
    return this.#u32;
  }

  /** The word at a byte address. */
  load32(ptr: number): number {
    return this.u32[ptr >>> 2] as number;
  }

  /** Stores a word at a byte address. */
  store32(ptr: number, value: number): void {
    this.u32[ptr >>> 2] = value;
  }

  /** The u64 at a byte address as a number; exact below 2^53. */
  load64(ptr: number): number {
    const u32 = this.u32;
    return (u32[ptr >>> 2] as number) + (u32[(ptr >>> 2) + 1] as number) * 4294967296;
  }

  /** The u64 at a byte address, exact. For people and tests, not for hot paths. */
  loadBig(ptr: number): bigint {
    const u32 = this.u32;
    return (BigInt(u32[(ptr >>> 2) + 1] as number) << 32n) | BigInt(u32[ptr >>> 2] as number);
  }

  /** Stores a u64. For people and tests, not for hot paths. */
  storeBig(ptr: number, value: bigint): void {
    const u32 = this.u32;
    u32[ptr >>> 2] = Number(value & 0xffffffffn);
    u32[(ptr >>> 2) + 1] = Number((value >> 32n) & 0xffffffffn);
  }
}
