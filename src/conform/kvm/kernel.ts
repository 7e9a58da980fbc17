// The kernel of a recording: its version, and the generations of KVM and of the host mm by whose rules its script is
// run. A generation is named as the first kernel that it stands for.

import { KVM_GENERATIONS, type KvmGenerationName } from '../../kvm/generation.ts';
import { MM_GENERATIONS, type MmGenerationName } from '../../mm/generation.ts';

/** The first two numbers of a kernel's version. */
export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

/** A name that generations of KVM and of the host mm share. */
export type GenerationName = KvmGenerationName & MmGenerationName;

/** Version of a kernel by its release (uname -r); null: it is none. */
function parsedVersion(release: string): KernelVersion | null {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return major === undefined ? null : { major: Number(major), minor: Number(minor) };
}

/** Version of a kernel by its release (uname -r). */
export function versionOf(release: string): KernelVersion {
  return parsedVersion(release) ?? { major: 0, minor: 0 };
}

/** Whether a kernel is as new as another. */
export function isSince(kernel: KernelVersion, { major, minor }: KernelVersion): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

/** The generations that are named by a kernel, oldest first; that of 2008 was never recorded. */
const RECORDED: readonly (KernelVersion & { readonly name: GenerationName })[] = Object.keys(
  KVM_GENERATIONS,
)
  .filter((name): name is GenerationName => name in MM_GENERATIONS)
  .flatMap((name) => {
    const version = parsedVersion(name);
    return version === null ? [] : [{ ...version, name }];
  })
  .toSorted((a, b) => a.major - b.major || a.minor - b.minor);

/** The generation whose rules a kernel's scripts are run by: the last one that is not newer, else the first. */
export function generationOf(kernel: KernelVersion): GenerationName {
  const older = RECORDED.filter((generation) => isSince(kernel, generation));
  return (older.at(-1) ?? (RECORDED[0] as (typeof RECORDED)[number])).name;
}

/** Whether a kernel is one that a generation is named by. */
export function hasGeneration({ major, minor }: KernelVersion): boolean {
  return RECORDED.some((generation) => generation.major === major && generation.minor === minor);
}
