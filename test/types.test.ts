// The package's declarations are whole: a strict program that checks them too compiles.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = new URL('../', import.meta.url).pathname;

const PROGRAM = `
import { createVm, LRU_POLICY_FIRST, type ReclaimPolicy, type RunResult, type VmOptions } from 'shadowmmu';

const options: VmOptions = { memoryPages: 40, guestPages: 100 };
export const reached: boolean = createVm(options).access(4096, 1);
export const list: number = LRU_POLICY_FIRST;
export const accesses = ({ counters }: RunResult): number => counters.accesses;
export const nameOf = ({ name }: ReclaimPolicy): string => name;
// @ts-expect-error: an unknown option is none.
createVm({ ...options, memoryPges: 1 });
`;

test('the declarations need nothing of this project', () => {
  const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
  writeFileSync(join(folder, 'program.ts'), PROGRAM);
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023', 'dom'],
    types: [],
    skipLibCheck: false,
    paths: { shadowmmu: [join(root, 'dist/src/index.d.ts')] },
  };
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['program.ts'] }),
  );
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  let said = '';
  try {
    execFileSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
  } catch (error) {
    said = (error as { stdout: string }).stdout;
  }
  expect(said).toBe('');
});
