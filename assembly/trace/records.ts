// Binary formats of other simulators, fixed-size little-endian records:
//
//   ChampSim input_instr, 64 bytes:
//     u64 ip | u8 is_branch | u8 taken | u8 dst_reg[2] | u8 src_reg[4] | u64 dst_mem[2] | u64 src_mem[4]
//     A slot of 0 is unused. Order of the references: the fetch, the loads, the stores.
//   libCacheSim oracleGeneral, 24 bytes, packed:
//     u32 time | u64 obj_id | u32 size | i64 next access
//     An object id is taken as a page number; the request as one read.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  TRACE_ERR_CANONICAL,
  TRACE_ERR_RECORD,
} from '../abi';
import { endAt, errorCode, stopFor } from './outcome';
import { emitAccess, isCanonical } from './text';

/** Bytes of a ChampSim record. */
export const CHAMPSIM_RECORD: usize = 64;
/** Bytes of an oracleGeneral record. */
export const ORACLE_GENERAL_RECORD: usize = 24;

/** Decodes whole ChampSim records of [p, end); returns where it stopped. */
export function decodeChampsim(
  decoder: usize,
  p: usize,
  end: usize,
  out: usize,
  outLimit: usize,
): usize {
  stopFor(0);
  while (p + CHAMPSIM_RECORD <= end && out < outLimit) {
    if ((load<u16>(p, 8) & 0xfefe) != 0) {
      stopFor(TRACE_ERR_RECORD);
      break;
    }
    let at = out;
    // Offsets 0: ip, 32…63: loads, 16…31: stores.
    for (let i: u32 = 0; i < 7; i++) {
      const slot: usize = i == 0 ? 0 : i < 5 ? 24 + ((<usize>i) << 3) : ((<usize>i) << 3) - 24;
      const gva = load<u64>(p + slot);
      if (gva == 0) continue;
      if (!isCanonical(gva)) {
        stopFor(TRACE_ERR_CANONICAL);
        break;
      }
      at = emitAccess(
        decoder,
        at,
        gva,
        1,
        i == 0 ? ACCESS_FETCH : i < 5 ? ACCESS_READ : ACCESS_WRITE,
      );
    }
    if (errorCode != 0) break;
    out = at;
    p += CHAMPSIM_RECORD;
  }
  endAt(out);
  return p;
}

/** Decodes whole oracleGeneral records of [p, end); returns where it stopped. */
export function decodeOracleGeneral(p: usize, end: usize, out: usize, outLimit: usize): usize {
  stopFor(0);
  while (p + ORACLE_GENERAL_RECORD <= end && out < outLimit) {
    const vpn = load<u64>(p, 4);
    const gva = vpn << 12;
    if (vpn >> 52 != 0 || !isCanonical(gva)) {
      stopFor(TRACE_ERR_CANONICAL);
      break;
    }
    store<u64>(out, gva | (<u64>ACCESS_READ));
    out += 8;
    p += ORACLE_GENERAL_RECORD;
  }
  endAt(out);
  return p;
}
