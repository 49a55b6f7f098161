// Package ledger keeps the history of the node's boots on the state volume: one line of JSON for each boot, oldest first.
//
// The file is replaced whole, by a rename after its content is on the disk, so that a power cut leaves the old or the new one. Lines that
// cannot be read are dropped: the ledger is a record for people, and a bad line in it must not keep a node from coming up.
//
// How a boot ended can be told only by the next one, which finds the file systems clean or not; an ordered shutdown also leaves its reason. What
// is found out of another end is noted later, also for a boot that did not come far enough to leave an entry.
package ledger
