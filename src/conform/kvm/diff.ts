// Two lists of lines side by side, the longest common subsequence aligned.

/** One row of a two-column diff. */
export interface DiffRow {
  readonly mark: ' ' | '<' | '>' | '|';
  readonly left: string;
  readonly right: string;
}

function lcsTable(a: readonly string[], b: readonly string[]): Uint32Array {
  const width = b.length + 1;
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      table[at] =
        a[i] === b[j]
          ? (table[at + width + 1] as number) + 1
          : Math.max(table[at + width] as number, table[at + 1] as number);
    }
  }
  return table;
}

/** Aligns two lists. */
export function diffRows(a: readonly string[], b: readonly string[]): DiffRow[] {
  const table = lcsTable(a, b);
  const width = b.length + 1;
  const rows: DiffRow[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const left = a[i];
    const right = b[j];
    if (left !== undefined && left === right) {
      rows.push({ mark: ' ', left, right });
      i++;
      j++;
    } else if (
      right === undefined ||
      (left !== undefined &&
        (table[(i + 1) * width + j] as number) >= (table[i * width + j + 1] as number))
    ) {
      rows.push({ mark: '<', left: left as string, right: '' });
      i++;
    } else {
      rows.push({ mark: '>', left: '', right });
      j++;
    }
  }
  return pairUp(rows);
}

/** A line missing on one side next to one missing on the other becomes one changed row. */
function pairUp(rows: readonly DiffRow[]): DiffRow[] {
  const out: DiffRow[] = [];
  let at = 0;
  while (at < rows.length) {
    const row = rows[at] as DiffRow;
    if (row.mark === ' ') {
      out.push(row);
      at++;
      continue;
    }
    const lefts: string[] = [];
    const rights: string[] = [];
    for (; at < rows.length && rows[at]?.mark !== ' '; at++) {
      const { mark, left, right } = rows[at] as DiffRow;
      if (mark === '<') lefts.push(left);
      else rights.push(right);
    }
    for (let k = 0; k < Math.max(lefts.length, rights.length); k++) {
      const left = lefts[k];
      const right = rights[k];
      const mark = left === undefined ? '>' : right === undefined ? '<' : '|';
      out.push({ mark, left: left ?? '', right: right ?? '' });
    }
  }
  return out;
}

/** Prints a diff: `<` only recorded, `>` only emulated, `|` different. */
export function formatDiff(rows: readonly DiffRow[], columns: number, context = 4): string[] {
  const width = Math.max(24, Math.floor((columns - 5) / 2));
  const cut = (text: string): string =>
    text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);
  const near = rows.map((_, i) =>
    rows.slice(Math.max(0, i - context), i + context + 1).some((row) => row.mark !== ' '),
  );
  const out: string[] = [];
  let skipped = false;
  rows.forEach((row, i) => {
    if (!near[i]) {
      if (!skipped) out.push('…');
      skipped = true;
      return;
    }
    skipped = false;
    out.push(`${cut(row.left)} ${row.mark} ${cut(row.right)}`.trimEnd());
  });
  return out;
}
