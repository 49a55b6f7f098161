// Package device asks disks, network cards and the TPM what only they know, by
// ioctl(2). It returns what they answer as it is: packages smart and inventory read
// it. Every question reads; none changes the device, and none wakes a disk that
// would not be woken by a read.
//
// A question has no deadline but the kernel's: a disk that hangs holds its caller up.
package device
