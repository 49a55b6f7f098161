// Package planes holds the tests that start the real programs of the system
// plane, with exactly the arguments, certificates and configuration files of a
// node, as plain processes on loopback. They find a wrong flag in seconds, without
// a machine.
package planes
