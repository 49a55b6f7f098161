// Package cluster makes, keeps and removes a local cluster of virtual machines:
// its secrets and configurations (by nodectl), its disks (overlays on the
// image), its processes (package vm) and its entries in the user's nodectl
// contexts and kubeconfig.
//
// All that a cluster writes lies in one folder, save those entries; the file
// cluster.json in it records them, so that Down, in a later process, takes back
// what Up did and nothing else.
package cluster
