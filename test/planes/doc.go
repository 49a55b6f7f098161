// Package planes holds the tests that start the real programs of the system
// plane, with exactly the arguments, certificates and configuration files of a
// node, as plain processes on loopback: in a test machine those of the node's
// image, or, in seconds, any that CYVIVE_PROGRAMS names.
package planes
