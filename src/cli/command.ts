// What a command of the CLI is, and what it may touch of the outside world.

import { styleText } from 'node:util';

/** Exit statuses of the CLI. */
export const EXIT_STATUS = {
  ok: 0,
  /** Input that cannot be used. */
  data: 1,
  /** A wrong option or an impossible combination. */
  usage: 2,
  /** A property was violated (explore, conform). */
  violated: 3,
  /** A search ended before it had seen everything, and had found nothing (explore). */
  open: 4,
  /** A broken invariant of the emulator itself. */
  bug: 70,
  interrupted: 130,
} as const;

/** Styles that the tables and messages use. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Where a command writes to. */
export interface Io {
  /** Result: text, JSON, CSV. */
  out(text: string): void;
  /** Messages for people: warnings, notes. */
  err(text: string): void;
  /** One line of progress, overwritten by the next; shown only on a terminal. '' clears it. */
  progress(text: string): void;
  /** Colours `text` where the result goes to a terminal and NO_COLOR is not set. */
  style(style: Style, text: string): string;
  /** Columns of the terminal, 0 when it is none. */
  readonly columns: number;
}

/** A command. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** The whole text of `shadowmmu help COMMAND`. */
  readonly help: string;
  /**
   * Its work comes back to the event loop only at its end, so that nobody would hear of Ctrl-C before:
   * the process keeps the default action, which ends it at once. It leaves nothing behind that had to go.
   */
  readonly blocks?: true;
  /** Runs it; returns the exit status. Throws UsageError and DataError. */
  run(args: readonly string[], io: Io): number | Promise<number>;
}

/** The terminal that the process runs on. */
export function processIo(): Io {
  const { stdout, stderr } = process;
  const colour = stdout.isTTY === true && !process.env.NO_COLOR;
  const live = stderr.isTTY === true && !process.env.CI;
  let shown = 0;
  const io: Io = {
    columns: stdout.isTTY ? (stdout.columns ?? 80) : 0,
    out(text) {
      if (shown > 0) io.progress('');
      stdout.write(text);
    },
    err(text) {
      if (shown > 0) io.progress('');
      stderr.write(`${text}\n`);
    },
    progress(text) {
      if (!live) return;
      const line = text.slice(0, (stderr.columns ?? 80) - 1);
      stderr.write(`\r${line}${' '.repeat(Math.max(0, shown - line.length))}\r${line}`);
      shown = line.length;
    },
    style: (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text),
  };
  return io;
}
