// Package variant makes signed releases out of the sources as they are, of other versions and with faults of a known kind: for tests that take a node to
// another release, and for measuring how long that takes.
//
// They are signed with the developer's key, which nodes of an image of make image trust, and nobody else.
package variant
