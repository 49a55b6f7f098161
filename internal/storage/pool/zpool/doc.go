// Package zpool is the program zpool(8) as [pool.Pools], and what else is done to a pool at a person's word. It reads the program's JSON where there is
// some (status, get, list) and its text where there is none (import).
//
// It runs nothing itself: a [Runner] does, with the environment LC_ALL=C and TZ=UTC, since one of the texts has a time in it. Nothing is mounted by an
// import (-N), and no cache file is written (cachefile=none): pools are found by what is on the disks.
//
// Shapes and texts are those of OpenZFS 2.3.9, cmd/zpool/zpool_main.c; the function is named at each. The tests in a virtual machine hold them against
// the program.
package zpool
