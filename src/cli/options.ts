// Options that run, compare and profile share: what runs in the guest, and on which machine.

import { parseArgs } from 'node:util';
import { UsageError } from '../core/errors.ts';
import type { ProfileName } from '../stats/profiles.ts';
import {
  BACKINGS,
  DEVICES,
  GENERATIONS,
  GUEST_TABLES,
  POLICIES,
  PROFILE_NAMES,
  RECLAIM_TRIGGERS,
  PROTOCOLS,
  type SimulateOptions,
} from '../simulate.ts';
import { parseDeviceErrors } from '../mm/swap-device.ts';
import { parseCount, parseMemorySize, parseTlb } from '../units.ts';
import type { WorkloadSpec } from '../workload-spec.ts';
import { withDefaults } from './defaults.ts';

/** Declaration of the shared options for util.parseArgs. */
export const MACHINE_OPTIONS = {
  trace: { type: 'string' },
  format: { type: 'string' },
  workload: { type: 'string' },
  scenario: { type: 'string' },
  memory: { type: 'string' },
  policy: { type: 'string' },
  backing: { type: 'string' },
  swap: { type: 'string' },
  'swap-size': { type: 'string' },
  'swap-errors': { type: 'string' },
  reclaim: { type: 'string' },
  'min-free-kbytes': { type: 'string' },
  profile: { type: 'string' },
  generation: { type: 'string' },
  paging: { type: 'string' },
  'no-ad-bits': { type: 'boolean' },
  vcpus: { type: 'string' },
  tlb: { type: 'string' },
  'no-pcid': { type: 'boolean' },
  seed: { type: 'string' },
  limit: { type: 'string' },
  verify: { type: 'boolean' },
  'guest-tables': { type: 'string' },
  'guest-memory': { type: 'string' },
  'no-yardstick': { type: 'boolean' },
  'no-prefetch': { type: 'boolean' },
  'flush-scope': { type: 'string' },
  json: { type: 'boolean' },
  csv: { type: 'boolean' },
} as const;

/** Help on the shared options. */
export const MACHINE_HELP = `what runs in the guest (one of):
  --trace FILE        a memory trace; the format is detected, gzip is seen through
  --workload SPEC     a synthetic workload or a preset: NAME[:key=value,...]; names and parameters
                      are in docs/traces.md
  --scenario FILE     guest accesses, guest kernel actions and host operations from a JSON file
  --format NAME       format of the trace, when detection is not wanted
  --limit N           stop after N records

the machine:
  --memory SIZE       host memory for the guest: 25%, 64MiB, 4096pages (default 25%
                      of its pages, at least 16)
  --policy NAME       reclaim: ${POLICIES.join(', ')}
  --reclaim TRIGGER   ${RECLAIM_TRIGGERS.join(' or ')}: who needs a page reclaims at the limit, as in a control group
                      (default), or kswapd reclaims ahead between the host's watermarks
  --min-free-kbytes N vm.min_free_kbytes of a host with watermarks (default: by its size)
  --backing KIND      guest memory is ${BACKINGS.join(' or ')} memory of the host (default anon)
  --swap DEVICE       ${DEVICES.join(', ')} (default: the profile's)
  --swap-size SIZE    size of the swap device (default: 4 times the host, at least 256MiB)
  --swap-errors LIST  read:N, write:N: every N-th read or write of the devices fails
  --generation NAME   KVM's MMU and the host mm: ${GENERATIONS.join(', ')} (default: those of the protocol's
                      time; with file memory KVM's of 6.1)
  --paging KIND       shadow or tdp: shadow page tables, or two-dimensional paging (EPT, NPT), from
                      KVM of 5.10 on, with one vCPU (default shadow)
  --no-ad-bits        with --paging tdp: a processor that sets no A and D bits there
  --vcpus N           vCPUs; the references are dealt to them in seeded slices (default 1)
  --tlb E1xW1,E2xW2   entries and ways of the two TLB levels (default 64x4,1536x12)
  --no-pcid           a context switch of the guest flushes the TLB
  --guest-tables KIND ${GUEST_TABLES.join(' or ')}: in resident, the guest's page tables stay in memory,
                      uncounted (default: pageable; resident under none and pinned)
  --guest-memory SIZE memory of the guest (default: enough for the workload)
  --flush-scope SCOPE a notifier call flushes all translations (KVM's way) or only its pages
  --no-prefetch       KVM maps no neighbours of a faulting page
  --no-yardstick      no exact LRU beside the machine: faster, without spurious_swap_outs
                      and the aging accuracy
  --seed N            seed of everything that is random (default 1)
  --verify            stamp every page and check every read; audit the structures

output:
  --profile NAME      cost profile for times: ${PROFILE_NAMES.join(', ')} (default 2026)
  --json              for machines
`;

type Values = { readonly [name: string]: string | boolean | undefined };

/** Parses arguments against a declaration; no positional arguments. */
export function parseOptions(
  args: readonly string[],
  extra: Readonly<Record<string, { readonly type: 'string' | 'boolean' }>> = {},
): Values {
  const options = { ...MACHINE_OPTIONS, ...extra };
  const { values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false });
  return withDefaults(values as Values, Object.keys(options));
}

/** The text of an option; undefined where it is not given. */
export function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

/** One of a list of words. */
export function oneOf<T extends string>(
  values: Values,
  name: string,
  words: readonly T[],
): T | undefined {
  const value = text(values, name);
  if (value === undefined) return undefined;
  if (!(words as readonly string[]).includes(value)) {
    throw new UsageError(`--${name} ${value}: expected ${words.join(', ')}`);
  }
  return value as T;
}

/** The workload that the options name. */
export function workloadSpec(values: Values): WorkloadSpec {
  const given = (['trace', 'workload', 'scenario'] as const).filter(
    (name) => values[name] !== undefined,
  );
  if (given.length !== 1) {
    const what = given.length === 0 ? 'nothing to run' : `--${given.join(' and --')}`;
    throw new UsageError(`${what}: give one of --trace, --workload and --scenario`);
  }
  const kind = given[0] as 'trace' | 'workload' | 'scenario';
  const format = text(values, 'format');
  if (format !== undefined && kind !== 'trace') {
    throw new UsageError('--format goes with --trace only');
  }
  const limitText = text(values, 'limit');
  return {
    kind,
    name: text(values, kind) as string,
    ...(format === undefined ? {} : { format }),
    ...(limitText === undefined
      ? {}
      : { limit: parseCount(limitText, '--limit', 1, Number.MAX_SAFE_INTEGER) }),
  };
}

/** Checks names in a comma-separated list. */
export function protocolList(listText: string, option: string, known: readonly string[]): string[] {
  const names = listText.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!known.includes(name)) {
      throw new UsageError(`${option} ${name || listText}: expected ${known.join(', ')}`);
    }
  }
  return [...new Set(names)];
}

/** The machine that the options describe. */
export function simulateOptions(values: Values): SimulateOptions {
  const seed = text(values, 'seed');
  const vcpus = text(values, 'vcpus');
  const tlb = text(values, 'tlb');
  const memory = text(values, 'memory');
  const guest = text(values, 'guest-memory');
  const guestSize = guest === undefined ? undefined : parseMemorySize(guest, '--guest-memory');
  if (guestSize && 'share' in guestSize) {
    throw new UsageError(`--guest-memory ${guest}: expected an amount, not a share`);
  }
  if (values['json'] === true && values['csv'] === true) {
    throw new UsageError('--json and --csv exclude each other');
  }
  const swapSize = text(values, 'swap-size');
  const swap = swapSize === undefined ? undefined : parseMemorySize(swapSize, '--swap-size');
  if (swap && 'share' in swap) {
    throw new UsageError(`--swap-size ${swapSize}: expected an amount, not a share`);
  }
  const errors = text(values, 'swap-errors');
  const reclaim = oneOf(values, 'reclaim', RECLAIM_TRIGGERS);
  const minFree = text(values, 'min-free-kbytes');
  if (minFree !== undefined && reclaim !== 'watermarks') {
    throw new UsageError('--min-free-kbytes goes with --reclaim watermarks only');
  }
  const protocol = text(values, 'protocol');
  if (protocol !== undefined) protocolList(protocol, '--protocol', PROTOCOLS);
  const options = {
    ...(memory === undefined ? {} : { memory: parseMemorySize(memory, '--memory') }),
    protocol,
    policy: oneOf(values, 'policy', POLICIES),
    backing: oneOf(values, 'backing', BACKINGS),
    swap: oneOf(values, 'swap', DEVICES),
    swapPages: swap?.pages,
    deviceErrors: errors === undefined ? undefined : parseDeviceErrors(errors, '--swap-errors'),
    reclaim,
    minFreeKbytes:
      minFree === undefined ? undefined : parseCount(minFree, '--min-free-kbytes', 4, 2 ** 26),
    profile: oneOf<ProfileName>(values, 'profile', PROFILE_NAMES),
    generation: oneOf(values, 'generation', GENERATIONS),
    tdp: oneOf(values, 'paging', ['shadow', 'tdp'] as const) === 'tdp' ? true : undefined,
    adBits: values['no-ad-bits'] === true ? false : undefined,
    guestTables: oneOf(values, 'guest-tables', GUEST_TABLES),
    guestPages: guestSize?.pages,
    yardstick: values['no-yardstick'] === true ? false : undefined,
    prefetch: values['no-prefetch'] === true ? false : undefined,
    flushScope: oneOf(values, 'flush-scope', ['all', 'pages'] as const),
    vcpus: vcpus === undefined ? undefined : parseCount(vcpus, '--vcpus', 1, 64),
    tlb: tlb === undefined ? undefined : parseTlb(tlb, '--tlb'),
    pcid: values['no-pcid'] === true ? false : undefined,
    seed: seed === undefined ? undefined : parseCount(seed, '--seed', 0, 0xffffffff),
    verify: values['verify'] === true ? true : undefined,
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as SimulateOptions;
}
