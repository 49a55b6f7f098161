// Package build holds the steps that make a node image, in their order:
//
//	fetch → kernel → tree → zfs → modules → firmware → microcode → userland → programs → initramfs → bundle → sbom → root → transport → verity → uki → disk → report
//
// Each step's result is kept in the build cache under the hash of all its
// inputs, so that a step runs again only when something it depends on changed.
// Programs of the project itself are always given to `go build`, which knows
// best; the hash of what comes out decides about the steps behind it.
package build
