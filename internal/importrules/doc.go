// Package importrules holds the rules of what may import what, as tests. A rule
// says why it is there; whoever wants it changed should answer that reason.
package importrules
