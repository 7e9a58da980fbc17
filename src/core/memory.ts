// Views of linear memory. Growth detaches them, so they are fetched through the getters each time
// and never kept across a call into the core.

/** Learns of the host's own loads and stores; the explorer installs one. */
export interface MemoryObserver {
  /** Word index (address / 4) about to be read or written. */
  read(word: number): void;
  write(word: number): void;
}

/** Typed views of one core's linear memory. */
export class CoreMemory {
  readonly memory: WebAssembly.Memory;
  /** Told of what load32() and its kin do; raw views escape it. */
  observer: MemoryObserver | null = null;
  #u8: Uint8Array;
  #u16: Uint16Array;
  #u32: Uint32Array;
  #f64: Float64Array;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u16 = new Uint16Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#f64 = new Float64Array(memory.buffer);
  }

  /** Bytes of linear memory. */
  get u8(): Uint8Array {
    if (this.#u8.length === 0) this.#u8 = new Uint8Array(this.memory.buffer);
    return this.#u8;
  }

  /** Half words of linear memory: index = byte address / 2. */
  get u16(): Uint16Array {
    if (this.#u16.length === 0) this.#u16 = new Uint16Array(this.memory.buffer);
    return this.#u16;
  }

  /** Words of linear memory: index = byte address / 4. */
  get u32(): Uint32Array {
    if (this.#u32.length === 0) this.#u32 = new Uint32Array(this.memory.buffer);
    return this.#u32;
  }

  /** The word at a byte address. */
  load32(ptr: number): number {
    if (this.observer !== null) this.observer.read(ptr >>> 2);
    return this.u32[ptr >>> 2] as number;
  }

  /** Stores a word at a byte address. */
  store32(ptr: number, value: number): void {
    if (this.observer !== null) this.observer.write(ptr >>> 2);
    this.u32[ptr >>> 2] = value;
  }

  /** Doubles of linear memory: index = byte address / 8. No protocol reads or writes them. */
  get #doubles(): Float64Array {
    if (this.#f64.length === 0) this.#f64 = new Float64Array(this.memory.buffer);
    return this.#f64;
  }

  /** The double at a byte address. */
  loadF64(ptr: number): number {
    return this.#doubles[ptr >>> 3] as number;
  }

  /** Stores a double at a byte address. */
  storeF64(ptr: number, value: number): void {
    this.#doubles[ptr >>> 3] = value;
  }

  /** The u64 at a byte address as a number; exact below 2^53. */
  load64(ptr: number): number {
    if (this.observer !== null) this.#observe(ptr, false);
    const u32 = this.u32;
    return (u32[ptr >>> 2] as number) + (u32[(ptr >>> 2) + 1] as number) * 4294967296;
  }

  /** The u64 at a byte address, exact. For people and tests, not for hot paths. */
  loadBig(ptr: number): bigint {
    if (this.observer !== null) this.#observe(ptr, false);
    const u32 = this.u32;
    return (BigInt(u32[(ptr >>> 2) + 1] as number) << 32n) | BigInt(u32[ptr >>> 2] as number);
  }

  /** Stores a u64. For people and tests, not for hot paths. */
  storeBig(ptr: number, value: bigint): void {
    if (this.observer !== null) this.#observe(ptr, true);
    const u32 = this.u32;
    u32[ptr >>> 2] = Number(value & 0xffffffffn);
    u32[(ptr >>> 2) + 1] = Number((value >> 32n) & 0xffffffffn);
  }

  #observe(ptr: number, store: boolean): void {
    const word = ptr >>> 2;
    for (const at of [word, word + 1]) {
      if (store) this.observer?.write(at);
      else this.observer?.read(at);
    }
  }
}
