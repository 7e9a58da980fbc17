// npm run bench: bundles bench/main.ts beside the core and runs it. Options: see bench/main.ts.
import { build } from 'esbuild';

const root = new URL('..', import.meta.url).pathname;
await build({
  entryPoints: [`${root}bench/main.ts`],
  outfile: `${root}dist/bench.js`,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['@assemblyscript/loader'],
  logLevel: 'warning',
});
await import('../dist/bench.js');
