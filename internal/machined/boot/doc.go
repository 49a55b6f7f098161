// Package boot is init: PID 1 in the verified root. It brings the machine up
// by a table of steps that are run and printed one by one, keeps machined and
// the system containerd running, and takes the machine down in phases that
// each have a deadline.
//
// A panic of PID 1 is a panic of the kernel, so every goroutine here recovers,
// and what is risky (parsing configuration, talking to the network) is the
// work of children.
//
// Packages below: stage1 (PID 1 before the root is there), verity, kmod,
// uevent, kmsg, cmdline, marker, timeline, power (keys), watchdog, trial (of a new
// release, whose agent may be silent), and plane (PID 1 of the workload plane).
package boot
