// CLOCK (second chance): FIFO, but a page that was used since it was looked at last goes round again.

import * as abi from '../../../assembly/abi.ts';
import { FifoPolicy } from './fifo.ts';

/** Second chance. */
export class ClockPolicy extends FifoPolicy {
  override readonly name: string = 'clock';

  override asks(_pfn: number): boolean {
    return true;
  }

  override judge(_pfn: number, referenced: number): number {
    return referenced > 0 ? abi.VERDICT_ROTATE : abi.VERDICT_RECLAIM;
  }
}
