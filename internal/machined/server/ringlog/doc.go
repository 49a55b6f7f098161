// Package ringlog reads the ring files in which init keeps what services
// wrote: NAME.log is being appended to, NAME.log.1 is what it was before it
// grew too long and was renamed. The writer may rename or truncate at any time.
//
// Following is by looking again at short intervals: the files are on a tmpfs,
// so a look is two system calls, and there is no watch to lose when the writer
// renames.
//
// Whoever copies a ring reads it with Since instead, from where it was before: that place
// is kept over its own end, and the writer may have renamed meanwhile.
//
// A folder of the workload plane is written by whoever is root in it. What lies there
// is taken for a log only if it is a regular file of that folder, and only so much
// of it is read.
package ringlog
