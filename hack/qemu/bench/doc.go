// Package bench measures a node beside a baseline: Debian with systemd and
// containerd, the same kernel, and the same Kubernetes, set up by kubeadm (package
// build of images makes it). Both run in the same QEMU with the same processors,
// memory and disk, one after the other, and both are measured by the same means:
//
//   - from outside: the console, for when the kernel started; Kubernetes over
//     HTTPS, for when it answers, when the node is Ready and when a pod answers;
//     the processor time of QEMU's process; QEMU's counters of its disks;
//   - from inside, by package probe, whose program runs in both and reads /proc:
//     memory, the network card's counters, and each process's memory.
//
// Upgrades, rollbacks, the place of the root and pools are measured on nodes alone,
// which the baseline has nothing beside; they are held against an ordinary reboot of
// the same node, the programs of OpenZFS alone, or each other. Replication is measured
// by a test, in a machine of the test runner with two pools.
//
// Nothing here passes or fails by a time: the figures are written down, with the
// machine they were taken on.
package bench
