// Package upgrade takes a node from one release to another and, when the other is no good, back again by itself.
//
// The disk has two slots. A release is written to the one that does not run, and an entry of the boot loader with a counter is made for it: the
// boot loader takes one off at each start, and passes over an entry that has none left. The started release looks at itself, and only when all
// gates hold takes the counter away; until then every end, ordered or not, leads back.
//
//	         Begin            Written            reboot             gates hold
//	Idle ────────────▶ Writing ──────▶ Armed ─────────────▶ Trial ────────────▶ Idle, succeeded
//	 ▲                    │              │ Cancel             │ deadline
//	 │    power cut,      │              │ or it never        ▼
//	 │    error           │              │ came up        Reverting
//	 └────────────────────┴──────────────┴────────────────────┘ reboot
//	            Idle, with the reason
//
// The way back to what the other slot holds is the same, with nothing written but the entry: the one that is there stays until the new one is, and what is
// in the slot stays whatever happens.
//
// [Record] is that machine. It is pure: what happened goes in, a new record and [Action]s come out. The record is kept on the state volume, and
// each of its changes can be cut off anywhere: what the machine finds at its next start (which release runs, whether its entry still has a
// counter) decides, and the record adds what the disk does not know, above all the reasons.
package upgrade
