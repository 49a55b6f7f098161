// Package timesync keeps the node's clock with time servers.
//
// Init sets the clock at the start of a boot, by the hardware clock or, where that is wrong, by the age of the image (internal/machined/boot). From the network
// on, [Keep] asks the servers by SNTP (RFC 5905 section 14), takes the time on which most of them agree, and has the kernel correct its clock:
//
//	up to 400 ms off     slewed, by the kernel's phase-locked loop
//	more                 set, if it is the first time in a boot
//	more than 1000 s     refused afterwards: a node that was right does not come to be so wrong by itself
//	before the build     refused always
//
// Servers are asked every 64 s, and less often, down to every 1024 s, as long as the clock is within 20 ms of them.
//
// # Trust
//
// Nothing of it is signed. Who is on the way can set the clock of a node that starts to any time after its build, and later move it by some minutes each hour: certificates
// that have ended are good again under it. With three servers or more on different ways, one that lies is outvoted.
package timesync
