// Package network brings the host's links to their desired state: up, with static or DHCP addresses, a default route, name servers and
// the host name. It also has the kernel translate the service addresses of the cluster, once it is told them.
//
// The package is pure but for the calls on [Host], [DHCP] and [Services], which rtnl, dhcp and bpf implement on the kernel and networktest as
// fakes. What
// it owns on a link is told by the kernel's own marks: routes carry the routing protocol of the adapter, and addresses are those of global
// scope. A link that no specification names is left alone, so that interfaces of pods are none of its business.
package network
