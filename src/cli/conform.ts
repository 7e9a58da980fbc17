// `shadowmmu conform`: the emulator against tables of known outcomes.

import { UsageError } from '../core/errors.ts';
import type { Command } from './command.ts';
import { conformAccess } from './conform-access.ts';
import { CONFORM_KVM_HELP, conformKvm } from './conform-kvm.ts';

const HELP = `usage: shadowmmu conform access FILE [options]
       shadowmmu conform kvm FILE|FOLDER … [options]

conform access checks the outcomes of memory accesses (fault, error code, accessed and dirty bits)
against an access table: CSV, or the binary format ACX1 of complete tables, gzip or not.

  --way WAY    walker: the software walk of the guest's tables
               shadow: a vCPU's accesses through shadow paging, vmexits included
               both (default)
  --limit N    failures to print for each way (default 10)
  --json       one JSON document instead of text

${CONFORM_KVM_HELP}
exit status: 0 nothing failed (kvm: at levels 1 and 2), 1 a file cannot be used, 2 wrong usage,
             3 something failed
`;

/** The command. */
export const command: Command = {
  summary: 'check against access tables and recordings of the real KVM',
  help: HELP,
  blocks: true,
  run(args, io) {
    const [what, ...rest] = args;
    if (what === 'access') return conformAccess(rest, io);
    if (what === 'kvm') return conformKvm(rest, io);
    const given = what === undefined ? '' : `, not ${JSON.stringify(what)}`;
    throw new UsageError(`conform wants access or kvm${given}`);
  },
};
