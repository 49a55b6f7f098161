// Package bpf holds the eBPF programs that translate service addresses at the socket: sock.c. Nothing on the node loads them yet; the tests
// run them on the kernel.
//
// There is neither a service number nor a backend number: a slot's key is its service's address and an index. So what the maps hold can be
// compared with what they should hold by content alone, by an agent that has just started and remembers nothing.
package bpf
