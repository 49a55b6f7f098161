// Package events reads what the kernel's part of OpenZFS reports: errors of I/O and checksums, devices that come and go, scans that begin and end. It reads the text
// of zpool events -Hvf, for which there is no JSON, and in which payloads are printed as indented lines (zpool_do_events_nvprint in cmd/zpool/zpool_main.c, 2.3.9).
//
// The kernel keeps the latest 512 events (zfs_zevent_len_max, zfs(4)), and the program prints those first. [Follow] therefore goes on after a restart of either side
// from a [Mark], without an event twice. The kernel drops events that nobody has read in time; then an event of class [Dropped] says so, and whoever relies on events
// has to look at the pools anew.
//
// The text is not safe from what it quotes: a string with a line break in it, as a property of a pool's history may have, can look like an event. So an event is a
// reason to look, and nothing is done for one that the state of the pool does not bear out (package diagnose).
//
// Memory is bounded: a line, the number of fields, and their sizes have limits, beyond which the rest is left out.
package events
