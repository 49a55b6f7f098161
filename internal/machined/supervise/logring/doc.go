// Package logring keeps the newest output of a service in two files of
// limited size: NAME.log, and NAME.log.1 with what came before. Readers that
// follow a log notice the rename by the inode.
package logring
