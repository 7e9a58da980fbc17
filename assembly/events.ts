// The core's side of the event stream. Off by default: then an event costs one test of a global.

import { event } from './host';

let tracing: bool = false;

/** Turns the event stream on or off. */
export function setTracing(on: u32): void {
  tracing = on != 0;
}

/** Whether someone listens. */
export function isTracing(): bool {
  return tracing;
}

/** Sends an event (EVENT_*) to the host while tracing. */
export function trace(id: u32, a: u32 = 0, b: u32 = 0, c: u32 = 0, d: u32 = 0): void {
  if (tracing) event(id, a, b, c, d);
}
