// Package fuzz holds the table of what reads input from outside, and the test
// that everything in it has a fuzz test with a corpus. `make fuzz` runs them.
package fuzz
