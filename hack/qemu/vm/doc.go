// Package vm runs one QEMU process as one machine: it builds the command line,
// talks to QEMU's monitor, follows the serial console, and cuts the power.
//
// A machine lives in a folder of its own, which holds its pidfile, monitor
// socket and console. The process may outlive the program that started it: a
// later program finds it again with Attach. A pid is never trusted by itself;
// it counts only while /proc says that the process is the QEMU that was started
// with this folder's name.
package vm
