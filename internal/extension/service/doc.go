// Package service runs the services of extensions, as containers of the system plane in a cgroup of their own. It is a domain: the whole list goes in,
// what runs beyond it is stopped, and one service that fails keeps none of the others from running.
package service
