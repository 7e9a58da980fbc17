// `shadowmmu replay FILE`: runs a schedule that `shadowmmu explore` wrote.

import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { DataError, UsageError } from '../core/errors.ts';
import { sequenceDiagram } from '../explore/diagram.ts';
import { findSchedule, readSchedule, tellCell } from '../explore/run.ts';
import type { LoadedSchedule } from '../explore/run.ts';
import type { Story } from '../explore/story.ts';
import { storyText } from '../explore/story.ts';
import { readText, writeText } from '../files.ts';
import type { Command } from './command.ts';
import { EXIT_STATUS } from './command.ts';
import { loadScenarios } from './own-scenario.ts';

const HELP = `usage: shadowmmu replay FILE [--events] [--svg FILE] [--json]

Runs the schedule in FILE from its scenario's initial state and tells it step by step.

  --events     shows the tracepoints of each step
  --svg FILE   writes it as a sequence diagram
  --json       prints the steps as JSON

exit status: 3 when the violation shows again, 0 when it does not
`;

/** A schedule with the preset and the scenario that it names. */
async function load(path: string): Promise<LoadedSchedule> {
  const file = readSchedule(readText(path), path);
  const own = file.file === null ? [] : await loadScenarios(join(dirname(path), file.file));
  return findSchedule(file, path, own);
}

function run(loaded: LoadedSchedule, path: string): Story {
  const { preset, scenario, file } = loaded;
  try {
    const { bug, inject } = file;
    return tellCell(preset, scenario, file.schedule, { bug: bug ?? undefined, inject });
  } catch (error) {
    if (error instanceof RangeError) throw new DataError(`${path}: ${error.message}`);
    throw error;
  }
}

export const command: Command = {
  summary: 'tells a schedule that explore wrote, step by step',
  help: HELP,
  async run(args, io) {
    const { positionals, values } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        events: { type: 'boolean', default: false },
        svg: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const [path] = positionals;
    if (path === undefined || positionals.length > 1) throw new UsageError('replay wants one FILE');
    const loaded = await load(path);
    const story = run(loaded, path);
    const { file, preset, scenario } = loaded;
    const again = story.violations.some((v) => v.property === file.property);
    if (values.svg !== undefined) writeText(values.svg, sequenceDiagram(story));
    if (values.json) {
      const body = { schema: 'shadowmmu-replay-1', reproduced: again, ...story };
      io.out(`${JSON.stringify(body, null, 2)}\n`);
    } else {
      const columns = io.columns === 0 ? 110 : io.columns;
      io.out(`${preset.name}: ${preset.says}\n${scenario.name}: ${scenario.says}\n\n`);
      io.out(storyText(story, columns, values.events));
      io.out(again ? '' : `\n${file.property} did not show again\n`);
    }
    return again ? EXIT_STATUS.violated : EXIT_STATUS.ok;
  },
};
