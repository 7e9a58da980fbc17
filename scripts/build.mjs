// Builds everything: what is generated, the four Wasm targets (one process), the library bundle, its type
// declarations and the CLI. `--wasm` stops after the core.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { instrumentCore } from './explore-core.mjs';
import { exportGlobals } from './export-globals.mjs';
import { inlineCore } from './inline-core.mjs';

// asc reads an option of this name off the command line when it is loaded, so it goes first.
const onlyWasm = process.argv.includes('--wasm');
process.argv = process.argv.filter((arg) => arg !== '--wasm');
const { default: asc } = await import('assemblyscript/asc');

const root = new URL('..', import.meta.url).pathname;
process.chdir(root);

for (const script of ['scripts/gen-counters.mjs', 'scripts/gen-event-names.mjs']) {
  execFileSync(process.execPath, [script], { stdio: 'inherit' });
}

for (const target of ['release', 'profile', 'debug', 'explore']) {
  const { error, stderr } = await asc.main(['--config', 'asconfig.json', '--target', target]);
  if (error) {
    console.error(stderr.toString());
    console.error(`core (${target}): ${error.message}`);
    process.exit(1);
  }
}
writeFileSync('build/core.wasm', inlineCore(readFileSync('build/core.wasm')));
for (const name of ['core.wasm', 'core.profile.wasm', 'core.debug.wasm']) {
  writeFileSync(`build/${name}`, exportGlobals(readFileSync(`build/${name}`)));
}
const explored = 'build/core.explore.wasm';
writeFileSync(explored, instrumentCore(readFileSync(explored)));
if (onlyWasm) process.exit(0);

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
for (const name of ['core.wasm', 'core.profile.wasm', 'core.debug.wasm', 'core.explore.wasm']) {
  copyFileSync(`build/${name}`, `dist/${name}`);
}
const bundle = {
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['@assemblyscript/loader'],
  logLevel: 'warning',
};
// The library is one small file, since its user waits for it to be found, read and parsed; identifiers
// stay. The CLI loads what a command needs.
await build({
  ...bundle,
  entryPoints: { index: 'src/index.ts' },
  minifyWhitespace: true,
  minifySyntax: true,
});
await build({
  ...bundle,
  entryPoints: { cli: 'src/cli/main.ts', worker: 'src/cli/worker.ts' },
  splitting: true,
  chunkNames: 'chunk-[hash]',
});
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json'], {
  stdio: 'inherit',
});
// The core's types are ambient in this project, and unknown to who installs it.
const abi = 'dist/assembly/abi.d.ts';
writeFileSync(abi, readFileSync(abi, 'utf8').replaceAll(/: [ui]32;/g, ': number;'));
