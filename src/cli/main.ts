#!/usr/bin/env node
// Entry of the command line: finds the command, reports errors in one line, sets the exit status.

import { CoreBugError, DataError, KvmError, UsageError } from '../core/errors.ts';
import { type Command, EXIT_STATUS, type Io, processIo } from './command.ts';

/** Commands by name, in the order of the help text; each is loaded when it is used. */
const COMMANDS: Readonly<Record<string, () => Promise<{ readonly command: Command }>>> = {
  explore: () => import('./explore.ts'),
  replay: () => import('./replay.ts'),
  run: () => import('./run.ts'),
  compare: () => import('./compare.ts'),
  trace: () => import('./trace.ts'),
  contention: () => import('./contention.ts'),
  profile: () => import('./profile.ts'),
  conform: () => import('./conform.ts'),
};

async function helpText(): Promise<string> {
  const lines = [
    'shadowmmu: guest memory on shadow page tables, under every MMU-notifier aging protocol',
    '',
    'usage: shadowmmu COMMAND [OPTIONS]',
    '       shadowmmu help COMMAND',
    '',
    'commands:',
  ];
  for (const [name, load] of Object.entries(COMMANDS)) {
    const { command } = await load();
    lines.push(`  ${name.padEnd(10)} ${command.summary}`);
  }
  lines.push(
    '',
    'exit status: 0 done, 1 unusable data, 2 wrong usage, 3 a property is violated,',
    '             4 explore came to the end of its memory first',
    '',
  );
  return lines.join('\n');
}

/** The command that is nearest to a word, as a question, or where to look. */
async function nearestCommand(word: string): Promise<string> {
  const { didYouMean } = await import('../workload/spec.ts');
  return didYouMean(word, Object.keys(COMMANDS)) || '; see shadowmmu help';
}

/** The same of an option of a command, whose help names them all. */
async function nearestOption(option: string, name: string): Promise<string> {
  const { didYouMean } = await import('../workload/spec.ts');
  const help = Object.hasOwn(COMMANDS, name) ? (await COMMANDS[name]?.())?.command.help : '';
  const options = (help ?? '').match(/--[a-z][a-z-]*/g) ?? [];
  return didYouMean(option, [...new Set(options)]) || `; see shadowmmu help ${name}`;
}

async function dispatch(args: readonly string[], io: Io): Promise<number> {
  let [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || (name === 'help' && !rest[0])) {
    io.out(await helpText());
    return name === undefined ? EXIT_STATUS.usage : EXIT_STATUS.ok;
  }
  if (name === '--version' || name === '-V') {
    const { VERSION } = await import('../version.ts');
    io.out(`${VERSION}\n`);
    return EXIT_STATUS.ok;
  }
  if (name === 'help') [name, rest] = [rest[0] as string, ['--help']];
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!load)
    throw new UsageError(`unknown command ${JSON.stringify(name)}${await nearestCommand(name)}`);
  const { command } = await load();
  const end = rest.indexOf('--');
  const own = end < 0 ? rest : rest.slice(0, end);
  if (own.includes('--help') || own.includes('-h')) {
    io.out(command.help.endsWith('\n') ? command.help : `${command.help}\n`);
    return EXIT_STATUS.ok;
  }
  if (command.blocks !== true) cleanUpAtInterrupt(io);
  return command.run(rest, io);
}

/** Ctrl-C ends the process in order: the line of progress is cleared, what is not complete is removed. */
function cleanUpAtInterrupt(io: Io): void {
  process.once('SIGINT', () => {
    io.progress('');
    process.exit(EXIT_STATUS.interrupted);
  });
}

/** One line for an error of the command `name` and the exit status that goes with it. */
async function explain(error: unknown, name: string): Promise<{ line: string; status: number }> {
  const message = error instanceof Error ? error.message : String(error);
  const line = `shadowmmu: ${message.split('\n')[0]}`;
  if (error instanceof UsageError) return { line, status: EXIT_STATUS.usage };
  if (error instanceof DataError || error instanceof KvmError) {
    return { line, status: EXIT_STATUS.data };
  }
  // util.parseArgs: an unknown option, a missing value.
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code.startsWith('ERR_PARSE_ARGS')) {
    const unknown = /^Unknown option '(--[^']*)'/.exec(message);
    const hint = unknown?.[1]
      ? await nearestOption(unknown[1], name)
      : `; see shadowmmu help ${name}`;
    const said = unknown ? `shadowmmu: ${unknown[0]}` : line.replace(/\.$/, '');
    return { line: `${said}${hint}`, status: EXIT_STATUS.usage };
  }
  if (/^E[A-Z]+$/.test(code)) return { line, status: EXIT_STATUS.data };
  const kind = error instanceof CoreBugError ? 'broken invariant' : 'internal error';
  return { line: `shadowmmu: ${kind}: ${message.split('\n')[0]}`, status: EXIT_STATUS.bug };
}

async function main(): Promise<void> {
  const io = processIo();
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // The reader has gone (`| head`): there is nobody left to tell.
    if (error.code === 'EPIPE') process.exit(EXIT_STATUS.ok);
    throw error;
  });
  const args = process.argv.slice(2);
  try {
    process.exitCode = await dispatch(args, io);
  } catch (error) {
    const { line, status } = await explain(error, args[0] ?? '');
    io.err(line);
    if (status === EXIT_STATUS.bug && process.env.SHADOWMMU_DEBUG) console.error(error);
    process.exitCode = status;
  }
}

await main();
