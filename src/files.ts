// Whole files, read and written at once. A system call that fails becomes a DataError that names the file
// and says in words what is wrong with it.

import { readFileSync, writeFileSync } from 'node:fs';
import { DataError } from './core/errors.ts';

const TEXTS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'no space left on the device',
  EMFILE: 'too many open files',
  EROFS: 'the file system is read-only',
};
const READING: Readonly<Record<string, string>> = {
  ...TEXTS,
  ENOENT: 'no such file',
  EISDIR: 'is a directory, not a file',
};
const WRITING: Readonly<Record<string, string>> = {
  ...TEXTS,
  ENOENT: 'its folder does not exist',
  EISDIR: 'is a directory',
  EEXIST: 'a file of that name is there already',
  EPIPE: 'its reader closed it',
};

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? 'error';
}

/** A file that could not be read. */
export function readError(name: string, error: unknown): DataError {
  const code = codeOf(error);
  return new DataError(`${name}: ${READING[code] ?? `cannot be read (${code})`}`);
}

/** A file that could not be written; `-` is standard output. */
export function writeError(name: string, error: unknown): DataError {
  const code = codeOf(error);
  const shown = name === '-' ? 'standard output' : name;
  return new DataError(`${shown}: cannot be written: ${WRITING[code] ?? code}`);
}

/** The bytes of a file. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw readError(path, error);
  }
}

/** The text of a file. */
export function readText(path: string): string {
  return readBytes(path).toString('utf8');
}

/** Writes a file. */
export function writeText(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw writeError(path, error);
  }
}
