// Command nodectl is the command line of the Cyvive node API. It calls many
// nodes at once by itself: nothing forwards calls between nodes.
//
// Each noun has a file. What a command does on nodes goes through fleet.go,
// how a node is reached through dial.go, or maintenance.go as long as it has no
// configuration, and what an error means for the person who reads it through
// explain.go. Data goes to standard output, all else to standard error. The exit
// status is 0, 1 when a call failed, 2 for wrong usage, and 3 when some nodes of
// several failed.
package main
