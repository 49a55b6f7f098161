// Package vmtest runs a Go test binary in a virtual machine: on the project's
// kernel, with its modules and, where it has been built, the node's root image.
//
// The machine boots the kernel directly with an initramfs made for the run: the
// guest program (hack/qemu/guest) as /init, the test binary with the testdata of
// its package, and the kernel modules that the guest needs before it has the
// image. Output and exit status come back through a virtio-serial port, so that
// kernel messages, which go to the serial console, do not mix with them. The
// machine has no network card.
package vmtest
