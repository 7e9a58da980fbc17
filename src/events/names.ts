// Names of the event stream's ids: those of KVM's tracepoints and functions.

import * as abi from '../../assembly/abi.ts';

/** Name of each event id, index = EVENT_* (0 is unused): `kvm_page_fault`, `spte_set`, … */
export const EVENT_NAMES: readonly string[] = (() => {
  const names: string[] = [''];
  for (const [key, id] of Object.entries(abi)) {
    if (key.startsWith('EVENT_') && key !== 'EVENT_COUNT') names[id] = key.slice(6).toLowerCase();
  }
  return names;
})();
