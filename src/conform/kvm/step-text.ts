// What was seen in a step as lines of words, in which two steps are compared.

import type { JsonObject, KvmEvent, Step } from './recording.ts';

/** An event in words: name, then its arguments. */
export function eventText(event: KvmEvent): string {
  const parts: string[] = [event.t];
  for (const [key, value] of Object.entries(event)) {
    if (key === 't' || value === undefined) continue;
    if (key === 'by' && !event.t.startsWith('spte_')) continue;
    parts.push(`${key}=${Array.isArray(value) ? value.join(',') : scalarText(event.t, value)}`);
  }
  return parts.join(' ');
}

/** The raw spte of a split shows where the host's memory lies: only its flags are compared. */
function scalarText(t: string, value: unknown): string {
  const text = String(value);
  return t === 'split_huge_page' ? text.replace(/spte [0-9a-f]*(?=[0-9a-f]{3} )/, 'spte …') : text;
}

function fieldsText(object: JsonObject): string {
  return Object.entries(object)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      if (typeof value !== 'object' || value === null) return `${key}=${String(value)}`;
      if (Array.isArray(value)) return `${key}=${value.join('+')}`;
      return `${key}={${fieldsText(value as JsonObject)}}`;
    })
    .join(' ');
}

/** Keys in one order, so that two objects compare as text. */
function sorted(object: JsonObject): JsonObject {
  const out: Record<string, JsonObject[string]> = {};
  for (const key of Object.keys(object).toSorted()) {
    const value = object[key];
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    out[key] = nested ? sorted(value as JsonObject) : value;
  }
  return out;
}

/** An object in words: its fields, in one order. */
export function objectText(object: JsonObject): string {
  return fieldsText(sorted(object));
}

/** Whether two lists of lines are the same. */
export function sameLines(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}

/** Fields of a result that carry no fact: EFAULT's exit is a stale field of the run page. */
export function resultText(result: JsonObject): string {
  const { exit, ...rest } = result;
  return objectText(rest.err === undefined && exit !== undefined ? result : rest);
}

/** Counters that moved. */
export function counterLines(counters: Readonly<Record<string, number>>): string[] {
  return Object.entries(counters)
    .filter(([, v]) => v !== 0)
    .map(([k, v]) => `${k} ${v > 0 ? '+' : ''}${v}`)
    .toSorted();
}

/** What the pages that were asked whether they are young said. */
export function ageLines(age: Step['age']): string[] {
  return Object.entries(age ?? {}).map(
    ([page, { host, kvm }]) => `page ${page}: host ${host} kvm ${kvm}`,
  );
}
