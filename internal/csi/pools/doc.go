// Package pools is csi.Pools on a node. Which pools are imported, and how they are, the kernel tells in two files that cost next to nothing to read: the driver
// asks all the time. What only the program zpool knows, that is asked for, about a volume's health alone.
package pools
