// Package supervise starts, watches and reaps the children of a PID 1: init
// on the machine, and the plane's init in the workload plane.
//
// One Reaper owns wait(2) for the whole process. It holds its lock while it
// forks, so a child cannot exit before it is registered, and it reaps by pid
// after a peek with WNOWAIT, so no exit status is given to the wrong owner.
// Nothing else in such a process may use os/exec or wait.
//
// A Supervisor keeps a fixed table of services in the state that was asked
// for. What happens to one service is decided by Machine, a pure state
// machine; the Supervisor only carries its actions out.
package supervise
