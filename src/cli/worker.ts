// Entry of a worker thread: computes jobs of a comparison, one after the other.

import { parentPort } from 'node:worker_threads';
import { type CompareJob, runJob } from '../compare.ts';
import { type WorkerMessage, errorMessage } from './pool.ts';

/** Least time between two messages of progress, milliseconds. */
const PROGRESS_MS = 100;

const port = parentPort;
const post = (message: WorkerMessage): void => port?.postMessage(message);

port?.on('message', async (job: CompareJob) => {
  let told = performance.now();
  try {
    const outcome = await runJob(job, (part) => {
      const now = performance.now();
      if (now - told < PROGRESS_MS) return;
      told = now;
      post({ kind: 'progress', part });
    });
    post({ kind: 'outcome', outcome });
  } catch (error) {
    post(errorMessage(error));
  }
});
