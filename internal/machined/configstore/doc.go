// Package configstore keeps a node's configuration on its state volume: numbered revisions, and the record of which of them counts.
//
//	              Stage ┌────────┐ the next boot
//	    ┌──────────────▶│ staged │──────────────┐
//	    │               └────────┘              ▼
//	a revision ──────────── Apply ────────▶ ┌─────────┐
//	    │                                   │ current │
//	    │                ┌──────── Confirm ▶└─────────┘
//	    │  Try  ┌────────┴─┐                     ▲
//	    └──────▶│  trying  │── Revert, a reboot ─┘ of the one before
//	            └──────────┘
//
// [Record] is the state machine, and pure. A revision that is tried counts until its time has passed, by the clock of the running boot
// (CLOCK_BOOTTIME), which no setting of the time changes; it does not outlive its boot. A staged one waits for another boot than that in which it was
// staged.
//
// # On the disk
//
// Each revision is a file of its own, written once. The record has two files, which are written in turn, each with a number that grows: the newest
// one that can be read counts. Everything begins with the SHA-256 of the rest. A file is written under another name, synced, renamed, and
// the directory is synced, first the revision, then the record that names it: so a power cut at any point leaves either the old state or the new one. What
// cannot be read for another reason is stepped over: the older record, or the revision that was current before, counts then, and [Store.Problems] says why.
//
// Revisions are stored as they were given, with mode 0600, where no pod and no method of the API can read them. Secrets in them that are sealed (package config)
// stay so, and the others are in the clear: against who has the disk, only its encryption protects them.
package configstore
