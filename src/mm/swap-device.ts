// Block devices behind swap and files: their profiles, and the host's hold of their records in the
// core, where requests are queued (assembly/mm/device.ts).

import * as abi from '../../assembly/abi.ts';
import { UsageError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';

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

/** Reads `read:N`, `write:N` or both, with a comma between: every N-th such request fails. */
export function parseDeviceErrors(text: string, option: string): DeviceErrors {
  const found: { failRead?: number; failWrite?: number } = {};
  for (const part of text.split(',')) {
    const match = /^(read|write):([1-9]\d{0,8})$/.exec(part);
    if (!match) throw new UsageError(`${option} ${text}: expected read:N, write:N or both`);
    found[match[1] === 'read' ? 'failRead' : 'failWrite'] = Number(match[2]);
  }
  return found;
}

/** One device. It serves requests once a host attached it; all of its state is in linear memory. */
export class BlockDevice {
  readonly profile: DeviceProfile;
  readonly #errors: Required<DeviceErrors>;
  #core!: Core;
  #id = 0;
  #ptr = 0;

  constructor(profile: DeviceProfile, errors: DeviceErrors = {}) {
    this.profile = profile;
    this.#errors = { failRead: 0, failWrite: 0, ...errors };
    const { name, channels } = profile;
    if (!Number.isInteger(channels) || channels < 1 || channels > abi.DEVICE_CHANNELS_MAX) {
      throw new UsageError(
        `device ${name}: channels must be 1 to ${abi.DEVICE_CHANNELS_MAX}, not ${channels}`,
      );
    }
  }

  /** Makes it device `id` (DEVICE_SWAP, DEVICE_DISK) of a core. */
  attach(core: Core, id: number): this {
    const { mem } = core;
    this.#core = core;
    this.#id = id;
    this.#ptr = (core.x.devices() >>> 0) + id * abi.DEVICE_SIZE;
    const { readSequential, readRandom, writeSequential, writeRandom } = this.profile;
    const { queueDepth, channels } = this.profile;
    mem.storeF64(this.#ptr + abi.DEVICE_READ_SEQUENTIAL, readSequential);
    mem.storeF64(this.#ptr + abi.DEVICE_READ_RANDOM, readRandom);
    mem.storeF64(this.#ptr + abi.DEVICE_WRITE_SEQUENTIAL, writeSequential);
    mem.storeF64(this.#ptr + abi.DEVICE_WRITE_RANDOM, writeRandom);
    mem.storeF64(this.#ptr + abi.DEVICE_QUEUE, queueDepth / channels);
    mem.store32(this.#ptr + abi.DEVICE_CHANNELS, channels);
    mem.store32(this.#ptr + abi.DEVICE_HEAD, 0xffffffff);
    mem.store32(this.#ptr + abi.DEVICE_FAIL_READ, this.#errors.failRead);
    return this;
  }

  /** Whether a read or a write may fail at all. */
  get mayFail(): boolean {
    return this.#errors.failRead > 0 || this.#errors.failWrite > 0;
  }

  /** Reads the page at `place`: ns that its reader waited, or -1 for an I/O error. */
  read(place: number): number {
    return this.#core.x.deviceRead(this.#id, place);
  }

  /** True when the next write will fail. */
  nextWriteFails(): boolean {
    const { failWrite } = this.#errors;
    return failWrite > 0 && (this.writes + 1) % failWrite === 0;
  }

  /** Writes the page at `place`: ns that the writer waited. */
  write(place: number): number {
    return this.#core.x.deviceWrite(this.#id, place);
  }

  /** Reads so far. */
  get reads(): number {
    return this.#core.mem.load32(this.#ptr + abi.DEVICE_READS);
  }

  /** Writes so far. */
  get writes(): number {
    return this.#core.mem.load32(this.#ptr + abi.DEVICE_WRITES);
  }

  /** Time that callers waited, ns. */
  get waitNs(): number {
    return this.#core.mem.loadF64(this.#ptr + abi.DEVICE_WAITED);
  }

  /** Time that the device worked, ns (of all channels). */
  get busyNs(): number {
    return this.#core.mem.loadF64(this.#ptr + abi.DEVICE_BUSY);
  }
}
