// Package disk says which of a machine's disks is meant. A [Selector] is how a person names one, by what the disk tells of itself; an [Identity] is what it
// tells, of which the serial number and the WWN stay with it wherever it is plugged in. An installation chooses its disk by it, and a pool its disks.
//
// The package is pure.
package disk
