// Writes the tables and the story of docs/explorer.md anew: runs `shadowmmu explore` and puts what it
// prints between the marks. Run it after a change of the explored protocols; test/explore/table.test.ts
// holds the rest.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const PART = /(<!-- explore --table, part (\d) -->\n)[^]*?(\n<!-- end -->)/g;

/** The document with the parts of a table (which are separated by empty lines) in their places. */
export function withTable(document, table) {
  const parts = table.trim().split('\n\n');
  return document.replaceAll(PART, (_, begin, number, end) => begin + parts[number - 1] + end);
}

const STORY = /(<!-- explore v3 fault-zap -->\n)[^]*?(\n<!-- end -->)/;

/** The document with the story of the first race in its place. */
export function withStory(document, story) {
  const lines = story.trimEnd().split('\n');
  const block = lines.map((line) => (line === '' ? '' : `    ${line}`)).join('\n');
  return document.replace(STORY, (_, begin, end) => begin + block + end);
}

/** What `shadowmmu explore` prints when properties are violated, as they must be. */
export function explore(...args) {
  try {
    execFileSync(process.execPath, ['dist/cli.js', 'explore', ...args, '--out', 'none'], {
      cwd: new URL('..', import.meta.url),
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1' },
    });
  } catch (error) {
    if (error.status === 3) return error.stdout;
    throw error;
  }
  throw new Error(`explore ${args.join(' ')}: nothing was violated`);
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const path = new URL('../docs/explorer.md', import.meta.url);
  const document = withTable(readFileSync(path, 'utf8'), explore('--table'));
  writeFileSync(path, withStory(document, explore('v3', 'fault-zap')));
}
