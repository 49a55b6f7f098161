// Package auditlog keeps the audit log of the node API in files, as the chain of package audit.
//
// A log is two files of bounded size: audit.log is appended to; when it is full it takes the place of audit.log.1, whose entries are dropped.
// A log starts in a folder in memory, and moves to the state volume with Move when that is there; entries from before keep the hash they
// had as Early. Whatever interrupts a write or a move, opening the log again takes it up where it is in order: a line without its end is cut
// off and noted, a move goes on after the last entry that has moved, and lines that are broken otherwise are left for a verifier to find.
package auditlog
