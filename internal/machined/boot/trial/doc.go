// Package trial lets init end the trial of a new release whose agent gives no
// sign of life.
//
// A release is tried with a counter in its boot entry (package upgrade). What its
// agent finds out sends it back; what keeps the agent from finding anything out
// (it hangs, or ends again and again) does not, and the machine would stay where
// nobody can reach it. So init starts the machine again when the agent is silent
// for [Silence], and in any case after [Longest]. The boot loader takes one off the
// counter at each start, and so comes back to the old release.
//
// # Which boots are trials
//
// A boot that is no trial must never be ended so, whatever its agent does. Stage 1
// and init know from the command line which release runs, not whether it is on
// trial; the entry's name tells, but it lies on a FAT file system that PID 1 had
// better not mount. The boot loader says it itself: when systemd-boot starts an
// entry with a counter it renames the entry, and only when that is on the disk it
// sets the variable LoaderBootCountPath to the new name (boot_entry_bump_counters
// in src/boot/boot.c, systemd 257). It is a volatile variable, gone with the next
// start of the firmware. LoaderEntrySelected does not serve: since 257.9 it has the
// entry's name without the counter.
//
// So a boot is a trial if the variable names an entry of the running slot, and until
// the agent has said once that it is none, or none any more: that holds until the
// next boot. The agent cannot make a boot a trial, so the variable is needed for init
// to act at all. Where the boot loader could not count, init does nothing: to start
// the machine again would only lead to the same release. Nor may the agent take the
// variable for an answer: it stays when the release was blessed, and the agent may be
// started again days later. It asks init, which remembers what the one before said.
//
//	no variable ──────────────────────────▶ Settled ◀──────────────┐
//	variable ──▶ Trial ──(the agent says so)───────────────────────┘
//	               │
//	               └──(silence, or too long)──▶ the machine starts again
//
// # What counts as a sign of life
//
// The agent's own word (Trial of package control) and no other call: it comes from the
// task that decides about the trial, once a minute and for the first time after a
// minute of its life. An agent that ends sooner than that again and again is as
// silent as one that hangs.
package trial
