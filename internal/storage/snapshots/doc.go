// Package snapshots makes snapshots by schedules, and prunes them by rules.
//
// Nothing is written down anywhere: what the domain knows of the past are the snapshots that exist. A snapshot belongs to a policy by its name, which is the
// policy's prefix and the time at which it was made ([Name]). From the newest one of a policy, by CreateTXG, follows whether the next is due ([Schedule]):
//
//	           it was made before now ─▶ when a time of the schedule has passed since: one, however many have
//	newest ────┤
//	           its time is yet to come ─▶ the clock went back: when it has been seen for as long as the schedule's period, by a clock that does not
//
// What is pruned follows from the snapshots alone, too ([Policy.Judge]): rules count snapshots, or hours, days, weeks, months and years that have one, so that
// neither a clock that jumped nor a machine that was off for long takes any away. Only the least age is reckoned with the clock, and not while that is in doubt
// ([Clock].Doubt): the hardware's may be years ahead. A snapshot that was not made
// by the policy is never pruned, nor is the newest that was, nor one that a replication begins its next step with. Those that ZFS would not destroy, held or
// cloned ones, are stepped over and named.
//
// What replication has is left alone ([Pause]): of a replica, of what is fenced and of what is frozen no snapshot is made, and of what is fenced none is destroyed
// either. Else the snapshot that both nodes have, with which the role goes back, would be lost, or be followed by one that only this node has.
package snapshots
