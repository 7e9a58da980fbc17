// Writes src/events/names.ts from the EVENT_* of assembly/abi.ts. Asking the module for all that it
// exports at run time would take a fifth of the time to the first access. --check as in gen-counters.mjs.
import { declared, writeGenerated } from './generated.mjs';

const names = [''];
for (const [key, id] of Object.entries(await declared('assembly/abi.ts'))) {
  if (key.startsWith('EVENT_') && key !== 'EVENT_COUNT') names[id] = key.slice(6).toLowerCase();
}
writeGenerated('gen-event-names.mjs', [
  [
    'src/events/names.ts',
    `// Generated from assembly/abi.ts by scripts/gen-event-names.mjs; do not edit.

/** Name of each event id, index = EVENT_* (0 is unused): those of KVM's tracepoints and functions. */
export const EVENT_NAMES: readonly string[] = [
${names.map((name) => `  '${name}',`).join('\n')}
];
`,
  ],
]);
