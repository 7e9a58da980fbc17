// How many frames does sqlite3 need? Faults of the bundled trace by number of frames, under an exact
// LRU and under Belady's OPT. Prints:
//
//   frames      lru      opt
//       32   17,797    6,766
//       64    1,478      912
//      128      701      553
//      256      531      520
import { bundledTrace, missRatioCurve } from 'shadowmmu';

const frames = [32, 64, 128, 256];
const { results } = await missRatioCurve(bundledTrace(), { algorithms: ['lru', 'opt'], frames });

const cell = (n) => n.toLocaleString('en-US').padStart(8);
console.log(`${'frames'.padStart(6)} ${'lru'.padStart(8)} ${'opt'.padStart(8)}`);
for (const [i, n] of frames.entries()) {
  console.log(
    `${String(n).padStart(6)} ${cell(results.lru[i].faults)} ${cell(results.opt[i].faults)}`,
  );
}
