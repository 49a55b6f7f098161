// Package signature recognises what a disk or a partition holds by its magic numbers: partition tables, file systems, encryption, volume managers
// and RAID. It is for one question: may this be overwritten? So it prefers to find too much. What has no form that is known, and is not blank where
// structures of such kinds lie, is found as [Unknown].
//
// The table is in table.go, with the source of each number. Only beginning and end of a device are read: what lies elsewhere is found by nobody.
//
// The package reads through an io.ReaderAt that it is given, and never writes.
package signature
