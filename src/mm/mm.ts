import type { Task } from '../sched/task.ts';
import type { MmuNotifierOps } from './mmu-notifier.ts';
export interface Mm {
  readonly id: number;
  registerNotifier(ops: MmuNotifierOps): void;
  getUserPages(t: Task, at: number): boolean;
}
