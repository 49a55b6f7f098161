// Package dataset brings file systems and volumes of ZFS to what is declared.
//
// It makes what is declared and is not there, parents first, and sets properties. It never guesses and never destroys: a dataset that is not declared any more
// is reported as that and left alone, so one whose name was changed in its document is made anew beside the old one. To destroy a dataset somebody has to name
// it twice ([PlanDestroy]).
//
// What the node itself has set it takes away again when it is declared no longer; it knows that by the user property [ManagedProperty], which lists the
// properties that it has set on that dataset. What a person set stays.
//
// What cannot be changed, or would lose data, is a [Condition] with a name and never an operation: a volume that would shrink, a property that is fixed when a
// dataset is made, a volume where a file system is declared.
//
// A file system is mounted where its own document says, and nowhere else: what lies below one that is mounted has a mount point of its own, or none. What is received
// by replication is not mounted.
//
// Of a replica, and of all below a root that is fenced, readonly, canmount and mountpoint are replication's, whatever is declared and whatever the node has set,
// and nothing is made there: a document must not make a primary of what is none. The domain says so by the condition [LeftToReplication].
//
// In a pool that is declared to be read only nothing is made or changed, and what is there is mounted as declared. What differs is told by the condition [LeftReadOnly].
//
// Operations that give space free come before all others: else a quota could not be lowered that the reservation of a child, lowered at the same time,
// still needs.
package dataset
