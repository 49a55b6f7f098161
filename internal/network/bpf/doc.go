// Package bpf translates service addresses at the socket: eBPF programs (sock.c) and the maps that they look into, kept in the BPF file system
// and attached to a cgroup. It implements network.Services.
//
// Programs and maps belong to the kernel. An agent finds them as its predecessor left them, and while there is none, all goes on as it was:
//
//	DIR/connect4 …     the link of each program to the cgroup
//	DIR/maps-XXXXXXXX  the maps; XXXXXXXX identifies their layout
//
// A new version of the programs replaces the old one within its link, so no connection in between is left alone. A new layout of the maps
// gets a folder of its own, is filled, and then taken into use with the programs that know it.
//
// There is neither a service number nor a backend number: a slot's key is its service's address and an index. So what the maps hold can be
// compared with what they should hold by content alone, by an agent that has just started and remembers nothing.
package bpf
