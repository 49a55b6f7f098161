// Package zfs is the vocabulary of OpenZFS: names, kinds, GUIDs, properties, the errors that its programs report, and what the domains above ask of a
// system that has it ([System]). It runs nothing; package zfs/command does, and package zfs/zfstest holds a model of the same in memory, with the tests
// that both have to pass.
//
// What is to be the name of something is taken apart by [ParseDataset], [ParseSnapshot] and [ParseBookmark], what exists by [ParseName]; properties that
// people set are looked at by [CheckProperty], by a table ([Settings]). So what ZFS would refuse is refused where it is written, with the place and what
// was expected, and nothing that reaches a program can be taken for an option.
//
// Facts are from the manual pages of OpenZFS 2.3 (zfsconcepts(7), zfsprops(7), zfs-send(8), zfs-receive(8), zfs-hold(8), zfs-program(8)) and
// module/zcommon/zfs_namecheck.c.
package zfs
