// Package csitest is the kernel and the pools of the CSI driver's tests, in memory.
package csitest
