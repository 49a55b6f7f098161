// Package mount implements storage.Mounts on mount(2) and mountinfo, reads files of a volume without mounting it anywhere, and puts empty file
// systems in memory in the place of others.
package mount
