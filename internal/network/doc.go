// Package network brings the host's links to their desired state: up, with static or DHCP addresses, a default route, name servers and
// the host name. It also has the kernel translate the service addresses of the cluster, once it is told them.
//
// The package is pure but for the calls on [Host], [DHCP] and [Services], which rtnl, dhcp and bpf implement on the kernel and networktest as
// fakes. What it owns is told by the kernel's own marks: routes and addresses carry the protocol of the adapter. A link that the specification names
// belongs to it, with all IPv4 addresses of global scope; those of IPv6 are the domain's or the kernel's, which makes them of router
// advertisements. On a link that is not named any more the domain takes back what carries its mark and sets the link down; others, such as the
// interfaces of pods, are none of its business. So the way from one specification to another never depends on what was between.
package network
