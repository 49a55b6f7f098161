// Package pooltest is a machine with disks and pools in memory. It implements what package pool asks of ZFS, of disks and of what is remembered, keeps pools on disks that are
// pulled, moved and plugged in again, and can lose its power after any operation.
//
// It is a model and no proof: what ZFS itself does is tried in virtual machines.
package pooltest
