// Writes assembly/counters.ts and docs/counters.md from src/stats/counters.ts, the one declaration of
// the counters. With --check it only says whether the files are current (exit status 1 when not).
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
const doc = `# Counters

Every counter is declared once, in \`src/stats/counters.ts\`; this page is generated from there by
\`scripts/gen-counters.mjs\`. The name is the JSON key, the CSV column and (in capitals) the slot in the
Wasm core.

| counter | unit | one unit of it is |
|---|---|---|
${COUNTERS.map((c) => `| \`${c.name}\` | ${c.unit} | ${c.meaning} |`).join('\n')}
`;
const check = process.argv.includes('--check');
let stale = false;
for (const [path, wanted] of [
  ['assembly/counters.ts', text],
  ['docs/counters.md', doc],
]) {
  const target = new URL(path, root);
  let current = '';
  try {
    current = readFileSync(target, 'utf8');
  } catch {
    // first build
  }
  if (current === wanted) continue;
  if (check) {
    console.error(`${path} is stale: run node scripts/gen-counters.mjs`);
    stale = true;
  } else writeFileSync(target, wanted);
}
if (stale) process.exit(1);
