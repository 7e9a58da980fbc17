// Entry of a worker thread of `compare`.
import { parentPort } from 'node:worker_threads';

parentPort?.close();
