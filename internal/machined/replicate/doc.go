// Package replicate runs the replication jobs of a node's configuration.
//
// A [Manager] is told of the jobs ([Manager.Set]) and runs those that this node does the work of: at the times of their schedules, when a snapshot was
// made of what they send, and when a person asks for it. What is known of a job from one run to the next is in ZFS, on both nodes; here are only the times,
// and what the last run said. So an agent that is started anew runs each job at once, which does nothing where nothing is new.
//
//	idle ──due, or asked for──▶ queued ──no other at work on its datasets──▶ running ──▶ idle
//	                                                                          │ failed: again after 30 s, 1 min … 15 min
//	                                                                          │ a person has to decide, or it is fenced: at its next time
//
// A failover ends a run that is under way, and keeps another from beginning until it is done. It needs nothing of the other node, which is told when it is done:
// at once and, if that does not work, again after 30 s, 1 min … 15 min, whoever does the work of the job. Where the new primary is lost, one on the node
// with the source, which is fenced, makes that the primary again.
package replicate
