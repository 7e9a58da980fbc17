// What a timer did to a recording, and not its script.
import { expect, test } from 'vitest';
import type { KvmEvent } from '../../src/conform/kvm/recording.ts';
import { withoutPauses } from '../../src/conform/kvm/timing.ts';

/** What a flush of these pages tells. */
function flush(start: number, pages: number): KvmEvent[] {
  const range = { start: String(start), pages };
  return [
    { t: 'mn_invalidate_range', ...range },
    { t: 'kvm_invalidate_range', ...range },
  ];
}

test('an unmapping that was interrupted flushes in two parts what is one flush here', () => {
  const [one, two, both] = [flush(27, 1), flush(29, 1), flush(27, 3)];
  expect(withoutPauses([...one, ...two], both)).toEqual(both);
  expect(withoutPauses([...one, ...two], [...one, ...two])).toEqual([...one, ...two]);
  const apart = [...one, { t: 'mn_change_pte', page: '3' }, ...two];
  expect(withoutPauses(apart, both)).toEqual(apart);
});
