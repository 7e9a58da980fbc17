// Runs the jobs of a comparison in worker threads. Each worker takes the next job when it is free;
// outcomes stand in the order of the jobs, so their number changes nothing but the time.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type CompareJob, type CompareOutcome, runJob } from '../compare.ts';
import { CoreBugError, DataError, KvmError, UsageError } from '../core/errors.ts';

/** What a worker posts. */
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly part: number | undefined }
  | { readonly kind: 'outcome'; readonly outcome: CompareOutcome }
  | { readonly kind: 'error'; readonly name: string; readonly message: string };

/** Told how far each job is, 0 to 1. */
export type PoolProgress = (parts: readonly number[]) => void;

/** An error of a worker as the error that it was. */
function revive(name: string, message: string): Error {
  if (name === 'UsageError') return new UsageError(message);
  if (name === 'DataError' || name === 'KvmError') return new DataError(message);
  if (name === 'CoreBugError') return new CoreBugError(message);
  return new Error(message);
}

/** Sends the name, so that the other side can make the same kind of error. */
export function errorMessage(error: unknown): WorkerMessage {
  const known = [UsageError, DataError, KvmError, CoreBugError];
  const name = known.find((type) => error instanceof type)?.name ?? 'Error';
  return { kind: 'error', name, message: error instanceof Error ? error.message : String(error) };
}

function runInWorker(
  worker: Worker,
  job: CompareJob,
  progress: (part: number) => void,
): Promise<CompareOutcome> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
      finish();
    };
    const onMessage = (message: WorkerMessage): void => {
      if (message.kind === 'progress') progress(message.part ?? 0);
      else if (message.kind === 'outcome') settle(() => resolve(message.outcome));
      else settle(() => reject(revive(message.name, message.message)));
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onExit = (code: number): void =>
      settle(() => reject(new Error(`a worker ended with status ${code}`)));
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
    worker.postMessage(job);
  });
}

/** Runs jobs on `workers` threads (default: one a CPU); 0: in this thread. */
export async function runJobs(
  jobs: readonly CompareJob[],
  workers = availableParallelism(),
  progress: PoolProgress = () => {},
): Promise<CompareOutcome[]> {
  const outcomes: CompareOutcome[] = [];
  const parts = jobs.map(() => 0);
  const tell = (i: number, part: number): void => {
    parts[i] = part;
    progress(parts);
  };
  let next = 0;
  const takeAll = async (run: (job: CompareJob, i: number) => Promise<CompareOutcome>) => {
    while (next < jobs.length) {
      const i = next++;
      outcomes[i] = await run(jobs[i] as CompareJob, i);
      tell(i, 1);
    }
  };
  const count = Math.min(workers, jobs.length);
  if (count === 0) {
    await takeAll((job, i) =>
      runJob(job, async (part) => {
        tell(i, part ?? 0);
        await new Promise((resolve) => setImmediate(resolve));
      }),
    );
    return outcomes;
  }
  const threads = Array.from(
    { length: count },
    () => new Worker(new URL('./worker.js', import.meta.url)),
  );
  try {
    await Promise.all(
      threads.map((thread) =>
        takeAll((job, i) => runInWorker(thread, job, (part) => tell(i, part))),
      ),
    );
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
  return outcomes;
}
