// Package networktest holds a fake kernel for the network domain, a DHCP client that is told what to lease, and the conformance suite that
// the fake and rtnl both pass.
package networktest
