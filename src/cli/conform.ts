// `shadowmmu conform`: the emulator against tables of known outcomes.

import { UsageError } from '../core/errors.ts';
import type { Command } from './command.ts';
import { conformAccess } from './conform-access.ts';

const HELP = `usage: shadowmmu conform access FILE [options]

conform access checks the outcomes of memory accesses (fault, error code, accessed and dirty bits)
against an access table: CSV, or the binary format ACX1 of complete tables, gzip or not.

  --way WAY    walker: the software walk of the guest's tables
               shadow: a vCPU's accesses through shadow paging, vmexits included
               both (default)
  --limit N    failures to print for each way (default 10)
  --json       one JSON document instead of text

exit status: 0 nothing failed, 1 the file cannot be used, 2 wrong usage, 3 a row failed
`;

/** The command. */
export const command: Command = {
  summary: 'check accesses against tables of known outcomes',
  help: HELP,
  run(args, io) {
    const [what, ...rest] = args;
    if (what === 'access') return conformAccess(rest, io);
    throw new UsageError(`conform what? access, not ${JSON.stringify(what ?? '')}`);
  },
};
