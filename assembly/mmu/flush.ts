// TLB flushes that the MMU orders (cf. kvm_flush_remote_tlbs). The vCPUs are outside of guest mode
// when a flush returns, so it acts at once; the request bit only lets the next entry report it.

import { EVENT_FLUSH_REMOTE_TLBS, REQ_TLB_FLUSH, VCPU_REQUESTS } from '../abi';
import { REMOTE_TLB_FLUSHES } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { tlbFlushAll } from '../tlb';
import { vcpuCount, vcpuPtr } from '../vcpu';

/** kvm_flush_remote_tlbs: every translation of every vCPU. */
export function flushRemoteTlbs(): void {
  trace(EVENT_FLUSH_REMOTE_TLBS);
  bump(REMOTE_TLB_FLUSHES);
  const count = vcpuCount();
  for (let i: u32 = 0; i < count; i++) {
    const vcpu = vcpuPtr(i);
    tlbFlushAll(vcpu);
    store<u32>(vcpu, load<u32>(vcpu, VCPU_REQUESTS) | REQ_TLB_FLUSH, VCPU_REQUESTS);
  }
}
