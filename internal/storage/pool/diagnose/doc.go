// Package diagnose decides from the kernel's events, and from the state of pools, which device is faulty and what to do about it. It does what zed(8) does with its
// agents, as a machine of its own: events and the time go in, actions come out, and it neither waits nor reads nor runs anything.
//
// # A device's case
//
//	          error                  N errors in T, and no other device
//	(none) ──────────▶ watched ─────of the vdev has errors of the kind────▶ checksum, slow: degraded, spare
//	   ▲                  │                                                │
//	   │                  │  12 h without an error;                        ▼ I/O
//	   └──────────────────┴─ healthy, cleared, pool gone           leaving for 15 s ──▶ faulted, spare
//	   ▲                                                                   │
//	   └──────────────────── it was unplugged ─────────────────────────────┘
//
// Numbers and rules are those of OpenZFS 2.3.9: cmd/zed/agents/zfs_diagnosis.c (10 checksum errors or 10 errors of I/O in 600 s, slow I/Os only where
// the device's properties set a threshold, 15 s for a removal to be told; errors during a pool's import, and those of checksums that a scrub or resilver
// finds, do not count), fmd_serd.c (the last N events lie within T) and zfs_retire.c (a spare for a device that is faulted, degraded or removed; not for
// one that a person took offline).
//
// # What is different
//
// No program sets the state DEGRADED of a device that answers (zinject does, for tests). A device with too many checksum errors is marked here ([Engine.Marks]), and the
// spare is activated all the same. The mark ends when a person clears the pool's errors, which the kernel's counts show.
//
// zed has spares let go by a flag of its own when it brings a device online (ZFS_ONLINE_UNSPARE, which zpool online does not set). Here the spare is detached when
// the original has been well for [Config].ReleaseAfter, and nothing resilvered meanwhile.
//
// zed acts on events alone, and those from before its start are lost. Here they are read, and errors of I/O and checksums among them count as long as they are no older than
// the time within which they count at all. [Engine.Look] also takes a device that has been gone for [Config].SpareAfter for one that a spare
// is needed for.
//
// Events may be false (package events). So an action on a device is returned only if the pool has it, in a state that bears the event out.
package diagnose
