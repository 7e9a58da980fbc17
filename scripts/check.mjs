// npm run check: generated files current, types of host and core, lint, format.
import { spawnSync } from 'node:child_process';

const node = process.execPath;
const bin = (path) => [node, `node_modules/${path}`];
const steps = [
  ['generated counters', node, 'scripts/gen-counters.mjs', '--check'],
  ['generated event names', node, 'scripts/gen-event-names.mjs', '--check'],
  ['types of the host', ...bin('typescript/bin/tsc'), '-p', '.'],
  ['types of the core', ...bin('typescript/bin/tsc'), '-p', 'assembly'],
  [
    'lint',
    ...bin('oxlint/bin/oxlint'),
    '--deny-warnings',
    'assembly',
    'src',
    'test',
    'scripts',
    'bench',
    'examples',
  ],
  [
    'format',
    ...bin('prettier/bin/prettier.cjs'),
    '--check',
    '--log-level',
    'warn',
    'assembly',
    'src',
    'test',
    'scripts',
    'bench',
    'examples',
  ],
];
let failed = 0;
for (const [name, command, ...args] of steps) {
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name}`);
  if (status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
