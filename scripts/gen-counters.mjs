// Writes assembly/counters.ts from src/stats/counters.ts, the one declaration of the counters.
// With --check it only says whether the file is current (exit status 1 when not).
import { readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const root = new URL('..', import.meta.url);
const bundled = await build({
  entryPoints: [new URL('src/stats/counters.ts', root).pathname],
  write: false,
  format: 'esm',
});
const source = `data:text/javascript;base64,${Buffer.from(bundled.outputFiles[0].text).toString('base64')}`;
const { COUNTERS } = await import(source);
const lines = COUNTERS.map(
  (c, i) => `/** ${c.meaning} (${c.unit}) */\nexport const ${c.name.toUpperCase()}: u32 = ${i};`,
);
const text = `// Generated from src/stats/counters.ts by scripts/gen-counters.mjs; do not edit.

${lines.join('\n')}
export const COUNTER_COUNT: u32 = ${COUNTERS.length};
`;
const target = new URL('assembly/counters.ts', root);
let current = '';
try {
  current = readFileSync(target, 'utf8');
} catch {
  // first build
}
if (current !== text) {
  if (process.argv.includes('--check')) {
    console.error('assembly/counters.ts is stale: run node scripts/gen-counters.mjs');
    process.exit(1);
  }
  writeFileSync(target, text);
}
