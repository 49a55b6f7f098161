// Package reconcile runs the loop that every domain shares: observe, diff, apply the operations one at a time, observe again, publish.
//
// A domain is pure where it can be: Diff and Status compute from a specification and an observation, and only Observe and Apply touch the
// machine. The loop adds what all of them need and none should write itself: it is woken by a change of the desired state or by events of
// the kernel, several wakes during one pass make one more pass, a failure is retried with exponential back-off and jitter, and a slow
// resync covers events that were lost.
//
//	        wake, resync, retry
//	idle ───────────────────────▶ observe ─▶ diff ──empty──▶ publish (satisfied) ─▶ idle
//	 ▲                              ▲          │ operations
//	 │                              └── apply ◀┘
//	 └───────── publish (error, retry later) ◀── any step failed
package reconcile
