// Package replication keeps a tree of datasets on one machine the same as one on another, by snapshots.
//
// The side that has a [Job] does all the thinking: it asks both sides for what they have ([Listing]), makes a [Plan] of it, which is a pure function,
// and carries the plan out. The sides are [Sender] and [Receiver]; package endpoint implements both on a zfs.System. Each of their methods is a
// request and an answer, two have one stream of data beside, so that either can be on another machine; push and pull differ only in which one is.
//
// # What is kept on disk
//
// Names carry the job's UUID, never its name. On the sending side each step in progress holds the snapshots that it goes from and to (the step hold),
// and a bookmark marks what the other side has (the cursor), so that the snapshot itself may go. The cursor of a step is made before its stream
// begins: a step whose end the sender did not hear of can still be gone on from. On the receiving side a hold keeps the snapshot received last. All
// of them are in the listings, and what is in the way of nothing any more is taken away at the beginning of each run by what both listings say, never
// by what one side believes: a run that was killed anywhere leaves nothing that the next one does not use or take away. How much of this is done is
// the job's [Guarantee].
//
// # What a step costs
//
// A side on this machine starts the programs of OpenZFS, and waits for transactions to be written down. A run begins with a look at each side, and an
// estimate of each step. A step that goes on from another snapshot, whatever the number of snapshots, starts these:
//
//	request    side       program            what for                                                          waits for
//	List       each       zfs list           a root with all below it, once a run; for each root
//	           each       zfs holds          who holds what of it; only where anything is held
//	Estimate   sending    zfs send -nP       how long the stream will be
//	Protect    sending    zfs list           generation of the roots, what the names stand for
//	                      zfs hold           the step holds: the snapshots that it goes from and to            2 transactions
//	                      zfs bookmark       the cursor of what it goes to; beside the holds                   1
//	Send       sending    zfs list           generation, names
//	                      zfs send
//	Receive    receiving  zfs list           generation, the snapshot that it goes on from, what the replica is
//	                      zfs receive                                                                          its own
//	                      zfs hold           what has arrived                                                  1
//	Complete   receiving  zfs list           generation, what has arrived, what the replica is
//	                      zfs release        what was received before it                                       1
//	Advance    sending    zfs list           generation, the new cursor, what is held
//	                      zfs release        the step holds                                                    2
//	                      zfs destroy        the old cursor; beside the holds                                  1
//
// zfs hold and zfs release take one transaction after the other, for each snapshot; what is beside goes on at the same time.
// The generation is read for each request, since another may change it at any time. A request of which names are not known, or stand for something else by
// now, looks among all snapshots of the file system, which are one or two programs more. The first step of a replica does, and so does one that is finished
// after its run was killed.
//
// # What is never done
//
// Nothing that a person may want is destroyed. A replica that was written to, has snapshots of its own or no common one, or is of something else, is
// a [Conflict]: it names the decisions that would resolve it, each with the names of what it destroys. A [Decision] is carried out only if what is
// there is still what it names. A receiver mounts nothing; it sets properties that keep others from doing so.
//
// # Generations
//
// Each tree has a generation, a number in a user property of its roots, which grows when a replica is promoted. It goes with each request. A sender
// that learns of a higher one is fenced: its tree becomes read-only, and it sends nothing any more. A receiver refuses a lower one. What was fenced
// becomes a replica by a job in the other direction, from the snapshot that both have.
package replication
