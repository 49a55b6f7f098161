// Package smart reads what disks answer when they are asked for their health: the
// raw pages of NVMe, ATA and SCSI. It asks nobody: package device does. Each parser
// takes bytes that a disk decides, and has a fuzz test.
//
// A verdict is the disk's own where it gives one. Beyond that, a counter of errors
// that could not be corrected is a warning, and never more: many disks go on for
// years with one.
package smart
