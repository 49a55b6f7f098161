// Package reset wipes volumes of the node: what was ordered is written down on the disk, and done at the next start, before any volume is mounted.
//
//	        Begin, graceful         Left                     another boot
//	none ───────────────▶ Leaving ───────▶ Armed ──────────────────────────▶ wiping, volume by volume ──▶ none
//	 │                       │ it cannot     ▲        │ the same boot:
//	 │   forced              ▼               │        ▼ ask for the reboot again
//	 └─────────────────── none ──────────────┘
//
// [Record] is that machine, and pure. It is kept in a note outside of all volumes (package notes), so that it survives the wiping of each of them, and
// a crash or a power cut at any point leaves it where it was: leaving and wiping may be repeated.
package reset
