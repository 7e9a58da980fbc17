// Puts the output of each command that README.md shows (`$ command` in a console block) below it.
// Run it after a change that moves figures; test/readme.test.ts holds the rest.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

/** Runs a command of the README as its reader would; returns what it prints. */
export function outputOf(command) {
  const words = command.split(' ');
  const node = {
    npm: ['dist/cli.js', 'compare', '--demo'],
    shadowmmu: ['dist/cli.js', ...words.slice(1)],
    node: words.slice(1),
  }[words[0]];
  const output = execFileSync(process.execPath, node, {
    cwd: new URL('..', import.meta.url),
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return output.replace(/[ \t]+$/gm, '').trimEnd();
}

const BLOCK = /```console\n\$ (.*)\n[^]*?```/g;

/** The commands of the README with the output below each. */
export function blocks(readme) {
  return [...readme.matchAll(BLOCK)].map(([block, command]) => ({
    command,
    output: block.split('\n').slice(2, -1).join('\n'),
  }));
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const readme = readFileSync('README.md', 'utf8');
  const written = readme.replaceAll(
    BLOCK,
    (_, command) => `\`\`\`console\n$ ${command}\n${outputOf(command)}\n\`\`\``,
  );
  writeFileSync('README.md', written);
}
