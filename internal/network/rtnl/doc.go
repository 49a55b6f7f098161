// Package rtnl implements network.Host on rtnetlink, sethostname(2) and a resolver file. It is the only package of the network domain that
// talks to the kernel about links, addresses and routes.
//
// A Host works in the network namespace of the thread that opened it.
package rtnl
