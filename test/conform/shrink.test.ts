// Shrinking: what stays is what the failure needs, in order, and few batches of scripts are tried.
import { expect, test } from 'vitest';
import { shrink } from '../../src/conform/kvm/shrink.ts';

const HEAD = ['name x', 'desc x', 'pages 8'];

/** Fails if all the lines are there, in this order. */
function needs(lines: readonly string[]): (script: readonly string[]) => boolean {
  return (script) => {
    let at = 0;
    for (const line of script) if (line === lines[at]) at++;
    return at === lines.length;
  };
}

test('only the lines stay that the failure needs', () => {
  const body = Array.from({ length: 60 }, (_, i) => `g read ${i}`);
  const wanted = ['g read 3', 'g read 4', 'g read 31', 'g read 59'];
  const fails = needs(wanted);
  let batches = 0;
  const short = shrink([...HEAD, ...body], (scripts) => {
    batches++;
    return scripts.map(fails);
  });
  expect(short).toEqual([...HEAD, ...wanted]);
  expect(batches).toBeLessThan(30);
});

test('a failure that needs nothing leaves the head', () => {
  const short = shrink([...HEAD, 'g read 0', 'g read 1'], (scripts) => scripts.map(() => true));
  expect(short).toEqual(HEAD);
});

test('lines that do without each other one by one, but not together, stay', () => {
  // Either of two lines is enough.
  const short = shrink([...HEAD, 'g read 0', 'g read 1'], (scripts) =>
    scripts.map((script) => script.length > HEAD.length),
  );
  expect(short).toHaveLength(HEAD.length + 1);
});
