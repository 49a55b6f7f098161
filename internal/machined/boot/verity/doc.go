// Package verity opens the root file system's partition through dm-verity:
// every block that is read is checked against a hash tree whose root is in
// the signed kernel command line.
//
// The device is opened with panic_on_corruption (Linux 5.9). A block that does
// not match its hash is named on the console by the kernel ("verity: …: data
// block N is corrupted", or "metadata block N") and the machine stops by a
// panic, whether that is in stage 1 or weeks later. An I/O error instead would
// kill some program, at random, and let the others go on with a system that
// is known to be bad. What happens after the panic is the choice of panic= on
// the command line.
package verity
