// Package workload lists the workload plane's own programs, its containerd and
// the kubelet, as the node sees them from outside: by the processes in their
// cgroups. The plane itself is not asked, since what runs in it is not to be
// trusted with an answer. How often they were started again is in the plane's
// log only.
package workload
