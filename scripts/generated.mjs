// Files that scripts generate from a declaration: written, or with --check compared.
import { readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

export const root = new URL('..', import.meta.url);

/** The exports of a TypeScript module without imports of its own. */
export async function declared(path) {
  const bundled = await build({
    entryPoints: [new URL(path, root).pathname],
    write: false,
    format: 'esm',
  });
  const code = Buffer.from(bundled.outputFiles[0].text).toString('base64');
  return import(`data:text/javascript;base64,${code}`);
}

/** Writes each [path, text] that is not current; with --check it says so, and the process fails. */
export function writeGenerated(script, files) {
  for (const [path, wanted] of files) {
    const target = new URL(path, root);
    let current = '';
    try {
      current = readFileSync(target, 'utf8');
    } catch {
      // first build
    }
    if (current === wanted) continue;
    if (process.argv.includes('--check')) {
      console.error(`${path} is stale: run node scripts/${script}`);
      process.exitCode = 1;
    } else writeFileSync(target, wanted);
  }
}
