// Writes the tables of docs/explorer.md anew: runs `shadowmmu explore --table` and puts each part between
// its marks. Run it after a change of the explored protocols; test/explore/table.test.ts holds the rest.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const PART = /(<!-- explore --table, part (\d) -->\n)[^]*?(\n<!-- end -->)/g;

/** The document with the parts of a table (which are separated by empty lines) in their places. */
export function withTable(document, table) {
  const parts = table.trim().split('\n\n');
  return document.replaceAll(PART, (_, begin, number, end) => begin + parts[number - 1] + end);
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const path = new URL('../docs/explorer.md', import.meta.url);
  let table = '';
  try {
    execFileSync(process.execPath, ['dist/cli.js', 'explore', '--table'], { encoding: 'utf8' });
  } catch (error) {
    // Status 3: properties are violated, as they must be.
    if (error.status !== 3) throw error;
    table = error.stdout;
  }
  writeFileSync(path, withTable(readFileSync(path, 'utf8'), table));
}
