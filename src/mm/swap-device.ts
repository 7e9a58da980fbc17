// Block devices behind swap and files, as queues in virtual time. A read makes its caller wait; a
// write only keeps the device busy, until the queue is so long that the writer waits too
// (cf. congestion_wait()).

/** How long a device takes. Times are in nanoseconds. */
export interface DeviceProfile {
  readonly name: string;
  /** Requests that it serves at once. */
  readonly channels: number;
  /** A 4 KiB read that follows the previous request's place. */
  readonly readSequential: number;
  /** A 4 KiB read anywhere else. */
  readonly readRandom: number;
  readonly writeSequential: number;
  readonly writeRandom: number;
  /** Writes that may wait before the writer has to. */
  readonly queueDepth: number;
  /** A RAM disk: its reads end before they return (SWP_SYNCHRONOUS_IO). */
  readonly synchronous?: boolean;
  readonly source: string;
}

/** Devices by name. */
export const DEVICES = {
  hdd: {
    name: 'hdd',
    channels: 1,
    readSequential: 51_000,
    readRandom: 12_660_000,
    writeSequential: 51_000,
    writeRandom: 13_660_000,
    queueDepth: 128,
    source:
      'Seagate Barracuda 7200.11 data sheet (2008): 8.5 ms read and 9.5 ms write seek, 4.16 ms' +
      ' rotational latency, about 80 MB/s; 128 = BLKDEV_MAX_RQ of the block layer',
  },
  nvme: {
    name: 'nvme',
    channels: 32,
    readSequential: 60_000,
    readRandom: 65_000,
    writeSequential: 15_000,
    writeRandom: 15_000,
    queueDepth: 1024,
    source:
      'data-centre TLC drives of 2023-2025 (Samsung PM9A3, Micron 7450 data sheets): 4 KiB read' +
      ' 65-80 us, write 15 us into the buffer, at about 0.5-1 M IOPS',
  },
  zram: {
    name: 'zram',
    channels: 1,
    readSequential: 2_000,
    readRandom: 2_000,
    writeSequential: 6_000,
    writeRandom: 6_000,
    queueDepth: 1,
    synchronous: true,
    source:
      'lzo-rle/lz4 on a 4 KiB page, lzbench on 3-4 GHz cores: about 2 GB/s decompression and' +
      ' 0.7 GB/s compression, done by the CPU that asks',
  },
} as const satisfies Readonly<Record<string, DeviceProfile>>;

/** Name of a device. */
export type DeviceName = keyof typeof DEVICES;

/** Which requests of a device fail: every n-th read or write (0: none). */
export interface DeviceErrors {
  readonly failRead?: number;
  readonly failWrite?: number;
}

/** A device's state, for snapshots. */
export interface BlockDeviceState {
  readonly free: Float64Array;
  /** Place after the last request, requests so far, and times (see BlockDevice). */
  readonly head: number;
  readonly next: number;
  readonly reads: number;
  readonly writes: number;
  readonly waitNs: number;
  readonly busyNs: number;
}

/** One device and its queue. */
export class BlockDevice {
  readonly profile: DeviceProfile;
  readonly #failRead: number;
  readonly #failWrite: number;
  /** When each channel is free, in ns of virtual time. */
  #free: Float64Array;
  /** Channel of the next request. */
  #next = 0;
  /** Place after the last request. */
  #head = -1;
  /** Requests so far. */
  reads = 0;
  writes = 0;
  /** Time that callers waited, ns. */
  waitNs = 0;
  /** Time that the device worked, ns (of all channels). */
  busyNs = 0;

  constructor(profile: DeviceProfile, errors: DeviceErrors = {}) {
    this.profile = profile;
    this.#failRead = errors.failRead ?? 0;
    this.#failWrite = errors.failWrite ?? 0;
    this.#free = new Float64Array(profile.channels);
  }

  /** Whether a read or a write may fail at all. */
  get mayFail(): boolean {
    return this.#failRead > 0 || this.#failWrite > 0;
  }

  /** Reads the page at `place` at time `now`: ns until it is there, or -1 for an I/O error. */
  read(now: number, place: number): number {
    this.reads++;
    const { readSequential, readRandom } = this.profile;
    const done = this.#serve(now, place, place === this.#head ? readSequential : readRandom);
    const wait = done - now;
    this.waitNs += wait;
    if (this.#failRead > 0 && this.reads % this.#failRead === 0) return -1;
    return wait;
  }

  /** True when the next write will fail. */
  nextWriteFails(): boolean {
    return this.#failWrite > 0 && (this.writes + 1) % this.#failWrite === 0;
  }

  /** Writes the page at `place`: ns that the writer must wait. */
  write(now: number, place: number): number {
    this.writes++;
    const { writeSequential, writeRandom, queueDepth, channels } = this.profile;
    const cost = place === this.#head ? writeSequential : writeRandom;
    const done = this.#serve(now, place, cost);
    const wait = Math.max(0, done - now - (queueDepth / channels) * cost);
    this.waitNs += wait;
    return wait;
  }

  /** The state. */
  save(): BlockDeviceState {
    const { reads, writes, waitNs, busyNs } = this;
    return {
      free: this.#free.slice(),
      head: this.#head,
      next: this.#next,
      reads,
      writes,
      waitNs,
      busyNs,
    };
  }

  /** Goes back to a saved state. */
  restore(state: BlockDeviceState): void {
    this.#free = state.free.slice();
    this.#head = state.head;
    this.#next = state.next;
    this.reads = state.reads;
    this.writes = state.writes;
    this.waitNs = state.waitNs;
    this.busyNs = state.busyNs;
  }

  #serve(now: number, place: number, cost: number): number {
    // Requests are dealt to the channels in turn: the next one is the longest without a new request.
    const free = this.#free;
    const channel = this.#next;
    this.#next = channel + 1 === free.length ? 0 : channel + 1;
    const done = Math.max(now, free[channel] as number) + cost;
    free[channel] = done;
    this.#head = place + 1;
    this.busyNs += cost;
    return done;
  }
}
