// Package procfs reads what the kernel shows in /proc, /sys and the tree of
// control groups. Parsing is apart from reading: each parser takes the text of a
// file, leaves out what it does not know, and has a fuzz test. Numbers that
// cannot be read are zero, since a kernel may lack any of them; only what makes
// the whole answer meaningless is an error.
package procfs
