// Package mount implements storage.Mounts on mount(2) and mountinfo, and reads files of a volume without mounting it anywhere.
package mount
