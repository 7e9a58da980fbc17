// Writes assembly/counters.ts and docs/counters.md from src/stats/counters.ts, the one declaration of
// the counters. With --check it only says whether the files are current (exit status 1 when not).
import { declared, writeGenerated } from './generated.mjs';

const { COUNTERS } = await declared('src/stats/counters.ts');
const lines = COUNTERS.map(
  (c, i) => `/** ${c.meaning} (${c.unit}) */\nexport const ${c.name.toUpperCase()}: u32 = ${i};`,
);
const text = `// Generated from src/stats/counters.ts by scripts/gen-counters.mjs; do not edit.

${lines.join('\n')}
export const COUNTER_COUNT: u32 = ${COUNTERS.length};
`;
const doc = `# Counters

Every counter is declared once, in \`src/stats/counters.ts\`; this page is generated from there by
\`scripts/gen-counters.mjs\`. The name is the JSON key, the CSV column and (in capitals) the slot in the
Wasm core.

| counter | unit | one unit of it is |
|---|---|---|
${COUNTERS.map((c) => `| \`${c.name}\` | ${c.unit} | ${c.meaning} |`).join('\n')}
`;
writeGenerated('gen-counters.mjs', [
  ['assembly/counters.ts', text],
  ['docs/counters.md', doc],
]);
