// Package confine is the one place that says what the workload plane, and so
// any pod however privileged, can never do to the node. Kubernetes cannot loosen
// it: a privileged pod gets what the plane has, and no more.
//
// There are four walls, and each line of the tables names its reason:
//
//   - [Capabilities], the bounding set, which no process of the plane can grow
//   - [Devices], which hold for every cgroup below the plane's
//   - [Seccomp], a filter that every process of the plane inherits
//   - the programs of package lsm, for what depends on the object and not on
//     the call: which file is read as a module, which file system is mounted
//
// The package is data; containerd applies the first three at the plane's start,
// the agent the last before that.
package confine
